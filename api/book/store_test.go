package book_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/api/book"
	"cartstream/schemas"
)

func TestABookThatIsCreated(t *testing.T) {
	b := setup(t)
	want := schemas.Book{
		BookID: "emma", Title: "Emma", Author: "Jane Austen", ISBN: "9780141439587", UnitPrice: 1299, Currency: "EUR",
		Stock: 7, Status: schemas.Available, Version: 1,
	}
	equal(t, "the answer", b.create("emma", emma), want)

	got, err := b.store.Get(t.Context(), "emma")
	must(t, err)
	equal(t, "what is read", got, want)

	doc := b.stored("emma")
	for name, want := range map[string]any{
		"_id": "emma", "title": "Emma", "unitPrice": int64(1299), "stock": int64(7), "version": int64(1),
		"unpublished": int64(1), "change": "created", "isbn": "9780141439587", "status": "available", "currency": "EUR",
	} {
		equal(t, "the document's "+name, doc[name], want)
	}
	if _, ok := doc["changedAt"].(bson.DateTime); !ok {
		t.Errorf("changedAt is %T, want a date", doc["changedAt"])
	}
}

func TestABookWithoutIDGetsOneThatSortsByTime(t *testing.T) {
	b := setup(t)
	var ids []string
	for range 3 {
		created := b.create("", emma)
		if !schemas.ValidID(created.BookID) {
			t.Errorf("%q is no valid id", created.BookID)
		}
		ids = append(ids, created.BookID[:11])
		now := b.stored(created.BookID)["changedAt"]
		await(t, "the clock moves on", func() bool {
			other := b.create("", emma)
			return b.stored(other.BookID)["changedAt"] != now
		})
	}
	if !slices.IsSorted(ids) {
		t.Errorf("ids in the order of creation: %v", ids)
	}
}

func TestAChange(t *testing.T) {
	type outcome struct {
		version int64
		status  schemas.Availability
		kind    string // of the document's last change
	}
	put := func(d book.Draft) func(*bundle) error {
		return func(b *bundle) error {
			_, err := b.store.Put(b.t.Context(), book.Request{}, "emma", d)
			return err
		}
	}
	patch := func(p book.Patch) func(*bundle) error {
		return func(b *bundle) error {
			_, err := b.store.Patch(b.t.Context(), book.Request{}, "emma", p)
			return err
		}
	}
	remove := func(b *bundle) error { return b.store.Delete(b.t.Context(), book.Request{}, "emma") }
	soldOut := emma
	soldOut.Stock = 0

	for claim, test := range map[string]struct {
		calls []func(*bundle) error
		want  outcome
	}{
		"of the price raises the version by one":         {[]func(*bundle) error{put(emmaFor(999))}, outcome{2, schemas.Available, "updated"}},
		"to the same contents keeps the version":         {[]func(*bundle) error{put(emma), patch(book.Patch{}), patch(book.Patch{Title: ptr("Emma"), Stock: ptr(int64(7))})}, outcome{1, schemas.Available, "created"}},
		"of the stock to 0 is out_of_stock":              {[]func(*bundle) error{put(soldOut)}, outcome{2, schemas.OutOfStock, "updated"}},
		"of the stock back from 0 is available":          {[]func(*bundle) error{patch(book.Patch{Stock: ptr(int64(0))}), patch(book.Patch{Stock: ptr(int64(1))})}, outcome{3, schemas.Available, "updated"}},
		"by a patch touches only what it names":          {[]func(*bundle) error{patch(book.Patch{UnitPrice: ptr(int64(5))})}, outcome{2, schemas.Available, "updated"}},
		"by a delete is discontinued":                    {[]func(*bundle) error{remove}, outcome{2, schemas.Discontinued, "discontinued"}},
		"by a second delete keeps the version":           {[]func(*bundle) error{remove, remove}, outcome{2, schemas.Discontinued, "discontinued"}},
		"by a patch leaves a discontinued book so":       {[]func(*bundle) error{remove, patch(book.Patch{Stock: ptr(int64(3))})}, outcome{3, schemas.Discontinued, "updated"}},
		"by a put of the same brings a discontinued one": {[]func(*bundle) error{remove, put(emma)}, outcome{3, schemas.Available, "updated"}},
		"by a put without stock brings it out_of_stock":  {[]func(*bundle) error{remove, put(soldOut)}, outcome{3, schemas.OutOfStock, "updated"}},
	} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t)
			b.create("emma", emma)
			for _, call := range test.calls {
				must(t, call(b))
			}
			got, err := b.store.Get(t.Context(), "emma")
			must(t, err)
			equal(t, "the outcome", outcome{got.Version, got.Status, b.stored("emma")["change"].(string)}, test.want)
			equal(t, "the number of events", int64(b.kafka.count()), test.want.version)
		})
	}
}

func TestAPatchRemovesTheISBNOnlyWhenTold(t *testing.T) {
	b := setup(t)
	b.create("emma", emma)
	patched, err := b.store.Patch(t.Context(), book.Request{}, "emma", book.Patch{Author: ptr("J. Austen")})
	must(t, err)
	equal(t, "the ISBN", patched.ISBN, emma.ISBN)
	_, err = b.store.Patch(t.Context(), book.Request{}, "emma", book.Patch{ISBN: ptr("")})
	must(t, err)
	if isbn, there := b.stored("emma")["isbn"]; there {
		t.Errorf("the document still holds isbn %v", isbn)
	}
}

func TestAChangeLeavesFieldsOfANewerReleaseAlone(t *testing.T) {
	b := setup(t)
	b.create("emma", emma)
	_, err := b.db.Collection("books").UpdateOne(t.Context(), bson.D{{Key: "_id", Value: "emma"}}, bson.D{{Key: "$set", Value: bson.D{{Key: "weight", Value: int64(250)}}}})
	must(t, err)
	_, err = b.store.Put(t.Context(), book.Request{}, "emma", emmaFor(1))
	must(t, err)
	equal(t, "the unknown field", b.stored("emma")["weight"], any(int64(250)))
}

func TestWhatIsRefusedChangesNothing(t *testing.T) {
	ctx := context.Background()
	bad := emma
	bad.Title = "a\x00b"
	stale := book.Request{IfMatch: book.IfMatch{Set: true, Versions: []int64{9}}}
	for claim, test := range map[string]struct {
		call func(*book.Store) error
		want error
	}{
		"creating a book twice":           {func(s *book.Store) error { _, err := s.Create(ctx, book.Request{}, "emma", emma); return err }, book.ErrExists},
		"creating a discontinued one":     {func(s *book.Store) error { _, err := s.Create(ctx, book.Request{}, "gone", emma); return err }, book.ErrExists},
		"reading an unknown book":         {func(s *book.Store) error { _, err := s.Get(ctx, "nope"); return err }, book.ErrNotFound},
		"replacing an unknown book":       {func(s *book.Store) error { _, err := s.Put(ctx, stale, "nope", emma); return err }, book.ErrNotFound},
		"patching an unknown book":        {func(s *book.Store) error { _, err := s.Patch(ctx, book.Request{}, "nope", book.Patch{}); return err }, book.ErrNotFound},
		"deleting an unknown book":        {func(s *book.Store) error { return s.Delete(ctx, book.Request{}, "nope") }, book.ErrNotFound},
		"replacing another version":       {func(s *book.Store) error { _, err := s.Put(ctx, stale, "emma", emma); return err }, &book.VersionMismatch{Version: 1}},
		"patching another version":        {func(s *book.Store) error { _, err := s.Patch(ctx, stale, "emma", book.Patch{}); return err }, &book.VersionMismatch{Version: 1}},
		"deleting another version":        {func(s *book.Store) error { return s.Delete(ctx, stale, "emma") }, &book.VersionMismatch{Version: 1}},
		"deleting again what has changed": {func(s *book.Store) error { return s.Delete(ctx, stale, "gone") }, &book.VersionMismatch{Version: 2}},
		"creating with bad fields":        {func(s *book.Store) error { _, err := s.Create(ctx, book.Request{}, "new", bad); return err }, &book.Invalid{}},
		"creating with a bad id":          {func(s *book.Store) error { _, err := s.Create(ctx, book.Request{}, "a b", emma); return err }, &book.Invalid{}},
		"replacing with bad fields":       {func(s *book.Store) error { _, err := s.Put(ctx, book.Request{}, "emma", bad); return err }, &book.Invalid{}},
		"patching with bad fields": {func(s *book.Store) error {
			_, err := s.Patch(ctx, book.Request{}, "emma", book.Patch{Stock: ptr(int64(-1))})
			return err
		}, &book.Invalid{}},
	} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t)
			b.create("emma", emma)
			b.create("gone", emma)
			must(t, b.store.Delete(ctx, book.Request{}, "gone"))
			err := test.call(b.store)
			var mismatch *book.VersionMismatch
			var invalid *book.Invalid
			switch want := test.want.(type) { //nolint:errorlint // what is wanted is no chain
			case *book.VersionMismatch:
				if !errors.As(err, &mismatch) || *mismatch != *want {
					t.Errorf("the error is %v, want %v", err, want)
				}
			case *book.Invalid:
				if !errors.As(err, &invalid) || len(invalid.Fields) != 1 {
					t.Errorf("the error is %v, want one fault", err)
				}
			default:
				if !errors.Is(err, want) {
					t.Errorf("the error is %v, want %v", err, want)
				}
			}
			equal(t, "the version", b.stored("emma")["version"], any(int64(1)))
			equal(t, "the number of events", b.kafka.count(), 3)
		})
	}
}

func TestAChangeWhoseConditionHoldsIsMade(t *testing.T) {
	for claim, condition := range map[string]book.IfMatch{
		"none":                    {},
		"any book":                {Set: true, Any: true},
		"a list with its version": {Set: true, Versions: []int64{4, 1}},
	} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t)
			b.create("emma", emma)
			changed, err := b.store.Put(t.Context(), book.Request{IfMatch: condition}, "emma", emmaFor(1))
			must(t, err)
			equal(t, "the version", changed.Version, 2)
		})
	}
}

func TestWritersThatRaceGetEachVersionOnce(t *testing.T) {
	const writers, each = 4, 10
	b := setup(t)
	b.create("emma", emmaFor(0))
	var mu sync.Mutex
	prices := map[int64]int64{1: 0} // by version, as answered
	var all sync.WaitGroup
	for w := range int64(writers) {
		store := b.instance(b.kafka)
		all.Go(func() {
			for i := range int64(each) {
				changed, err := store.Put(t.Context(), book.Request{}, "emma", emmaFor(1+w*each+i))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if _, taken := prices[changed.Version]; taken {
					t.Errorf("version %d was handed out twice", changed.Version)
				}
				prices[changed.Version] = changed.UnitPrice
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for v := int64(1); v <= writers*each+1; v++ {
		if _, ok := prices[v]; !ok {
			t.Errorf("nobody got version %d", v)
		}
	}
	for _, e := range b.kafka.events(t) {
		equal(t, "the price in the event", e.UnitPrice, prices[e.Version])
	}
	equal(t, "the number of events", b.kafka.count(), writers*each+1)
}

func TestOfWritersWithTheSameConditionOneWins(t *testing.T) {
	b := setup(t)
	b.create("emma", emma)
	var mu sync.Mutex
	won := 0
	var all sync.WaitGroup
	for w := range int64(6) {
		all.Go(func() {
			_, err := b.store.Put(t.Context(), book.Request{IfMatch: book.IfMatch{Set: true, Versions: []int64{1}}}, "emma", emmaFor(w))
			var mismatch *book.VersionMismatch
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.As(err, &mismatch) || mismatch.Version != 2:
				t.Error(err)
			}
		})
	}
	all.Wait()
	equal(t, "the number of winners", won, 1)
}

func TestAChangeGoesOnWhenItsClientLeaves(t *testing.T) {
	b := setup(t)
	ctx, leave := context.WithCancel(t.Context())
	leave()
	_, err := b.store.Create(ctx, book.Request{}, "emma", emma)
	must(t, err)
	must(t, b.store.Delete(ctx, book.Request{}, "emma"))
	equal(t, "the status", b.stored("emma")["status"], any("discontinued"))
}

func TestTheLargestBookFits(t *testing.T) {
	b := setup(t)
	b.run(b.store)
	largest := book.Draft{
		Title: strings.Repeat("𝕏", book.MaxText), Author: strings.Repeat("ﬃ ", book.MaxText/2), UnitPrice: book.MaxAmount,
		Stock: book.MaxAmount, ISBN: strings.Repeat("9", 32),
	}
	b.create(strings.Repeat("z", 64), largest)
	b.awaitPublished(strings.Repeat("z", 64))
	await(t, "the indexes are there", func() bool {
		found, err := b.db.Collection("books").Indexes().ListSpecifications(t.Context())
		return err == nil && len(found) == 6
	})
	largest.Title = "𝕐" + largest.Title[4:]
	b.create("another", largest) // with the indexes in place
	page, err := b.store.List(t.Context(), book.Query{Q: strings.Repeat("𝕏", book.MaxText) + " FFI", Limit: 1})
	must(t, err)
	equal(t, "the number of books found", len(page.Items), 1)
	page, err = b.store.List(t.Context(), book.Query{Limit: 1})
	must(t, err)
	page, err = b.store.List(t.Context(), book.Query{Limit: 1, Cursor: page.NextCursor})
	must(t, err)
	equal(t, "the second book", page.Items[0].BookID, "another")
}
