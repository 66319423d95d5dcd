package book_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cartstream/api/book"
	"cartstream/schemas"
)

// pages reads the whole list, page by page, and returns the ids.
func (b *bundle) pages(q book.Query) []string {
	b.t.Helper()
	ids := []string{}
	for {
		page, err := b.store.List(b.t.Context(), q)
		must(b.t, err)
		if len(page.Items) > max(q.Limit, book.DefaultLimit) {
			b.t.Fatalf("a page of %d books", len(page.Items))
		}
		for _, item := range page.Items {
			ids = append(ids, item.BookID)
		}
		if page.NextCursor == "" {
			return ids
		}
		if len(page.Items) == 0 {
			b.t.Fatal("an empty page has a next one")
		}
		q.Cursor = page.NextCursor
	}
}

func TestTheListIsInTheOrderOfTheTitlesCodePointsThenOfTheIds(t *testing.T) {
	b := setup(t)
	titles := []string{
		"Zoo", "apple", "Apple", "Äpfel", "éa", "e\u0301a", "\ufb00", "\U0001D54F", "\uffff", " blank", "Same", "Same", "Same",
		"Apple pie", "!", "100", "20", "~", "ΩMEGA", "日本",
	}
	type listed struct{ title, id string }
	var want []listed
	for i, title := range titles {
		d := emma
		d.Title = title
		id := fmt.Sprintf("%c%d", "bA"[i%2], i)
		b.create(id, d)
		want = append(want, listed{title, id})
	}
	slices.SortFunc(want, func(x, y listed) int {
		return 2*strings.Compare(x.title, y.title) + strings.Compare(x.id, y.id)
	})
	var ids []string
	for _, w := range want {
		ids = append(ids, w.id)
	}
	for _, limit := range []int{1, 2, 3, len(titles), 100} {
		if got := b.pages(book.Query{Limit: limit}); !slices.Equal(got, ids) {
			t.Errorf("in pages of %d:\ngot  %v\nwant %v", limit, got, ids)
		}
	}
}

func TestAPageSaysWhetherThereIsANextOne(t *testing.T) {
	b := setup(t)
	page, err := b.store.List(t.Context(), book.Query{})
	must(t, err)
	if page.Items == nil || len(page.Items) > 0 || page.NextCursor != "" {
		t.Errorf("an empty catalogue has the page %+v", page)
	}
	for i := range 21 {
		b.create(fmt.Sprintf("b%02d", i), emma)
	}
	for claim, test := range map[string]struct {
		limit, items int
		next         bool
	}{
		"20 by default":       {0, 20, true},
		"one left":            {20, 20, true},
		"exactly all":         {21, 21, false},
		"more than there are": {100, 21, false},
	} {
		page, err := b.store.List(t.Context(), book.Query{Limit: test.limit})
		must(t, err)
		if len(page.Items) != test.items || (page.NextCursor != "") != test.next {
			t.Errorf("%s: %d books, next cursor %q", claim, len(page.Items), page.NextCursor)
		}
	}
}

func TestAListGoesOnWhereItWasWhenBooksComeAndGo(t *testing.T) {
	b := setup(t)
	for _, title := range []string{"a", "c", "e", "g"} {
		d := emma
		d.Title = title
		b.create(title, d)
	}
	first, err := b.store.List(t.Context(), book.Query{Limit: 2}) // a, c
	must(t, err)
	must(t, b.store.Delete(t.Context(), book.Request{}, "c")) // where the cursor stands
	for _, title := range []string{"b", "d"} {
		d := emma
		d.Title = title
		b.create(title, d)
	}
	got := b.pages(book.Query{Limit: 2, Cursor: first.NextCursor})
	if want := []string{"d", "e", "g"}; !slices.Equal(got, want) {
		t.Errorf("it goes on with %v, want %v", got, want)
	}
}

func TestAListFiltered(t *testing.T) {
	b := setup(t)
	for id, d := range map[string]book.Draft{
		"here":   {Title: "Pride and Prejudice", Author: "Jane Austen", Stock: 1},
		"out":    {Title: "Persuasion", Author: "Jane Austen"},
		"gone":   {Title: "Pride of Place", Author: "Nobody", Stock: 1},
		"hugo":   {Title: "Les Misérables", Author: "Victor Hugo", Stock: 1},
		"dumas":  {Title: "D’Artagnan", Author: "Alexandre Dumas", Stock: 1},
		"astral": {Title: "\U00010400\U00010401 script", Author: "ß", Stock: 1}, // Deseret, which has case
	} {
		b.create(id, d)
	}
	must(t, b.store.Delete(t.Context(), book.Request{}, "gone"))
	b.create("mean", book.Draft{Title: "b z", Author: "x", Stock: 1}) // has words on both sides of others

	for claim, test := range map[string]struct {
		query book.Query
		want  []string
	}{
		"by nothing leaves out what is discontinued": {book.Query{}, []string{"astral", "dumas", "here", "hugo", "mean", "out"}},
		"by available":                                    {book.Query{Status: schemas.Available}, []string{"astral", "dumas", "here", "hugo", "mean"}},
		"by out_of_stock":                                 {book.Query{Status: schemas.OutOfStock}, []string{"out"}},
		"by discontinued":                                 {book.Query{Status: schemas.Discontinued}, []string{"gone"}},
		"by a word of the title":                          {book.Query{Q: "pride"}, []string{"here"}},
		"by a word and a status":                          {book.Query{Q: "pride", Status: schemas.Discontinued}, []string{"gone"}},
		"by a word of the author":                         {book.Query{Q: "AUSTEN"}, []string{"here", "out"}},
		"by words of both":                                {book.Query{Q: "aus per"}, []string{"out"}},
		"by words of different books finds none":          {book.Query{Q: "pride hugo"}, []string{}},
		"by a word without its accent":                    {book.Query{Q: "miserab"}, []string{"hugo"}},
		"by a part behind an apostrophe":                  {book.Query{Q: "ARTAGN"}, []string{"dumas"}},
		"by a range, not by words around it":              {book.Query{Q: "c"}, []string{}},
		"by a word beyond the basic plane, in other case": {book.Query{Q: "\U00010428\U00010429"}, []string{"astral"}},
		"by what looks like a regular expression":         {book.Query{Q: ".* p[r] (hugo)$ ^"}, []string{}},
		"by punctuation finds all":                        {book.Query{Q: "^.*$"}, []string{"astral", "dumas", "here", "hugo", "mean", "out"}},
		"by a word that no book can have":                 {book.Query{Q: strings.Repeat("x", 5000)}, []string{}},
	} {
		t.Run(claim, func(t *testing.T) {
			for _, limit := range []int{1, 100} {
				test.query.Limit = limit
				got := b.pages(test.query)
				slices.Sort(got)
				if !slices.Equal(got, test.want) {
					t.Errorf("in pages of %d it has %v, want %v", limit, got, test.want)
				}
			}
		})
	}
}

func TestAListIsRefused(t *testing.T) {
	b := setup(t)
	encode := base64.RawURLEncoding.EncodeToString
	for claim, test := range map[string]struct {
		query book.Query
		field string // "" for a bad cursor
	}{
		"with a limit below 1":                  {book.Query{Limit: -1}, "limit"},
		"with a limit above 100":                {book.Query{Limit: 101}, "limit"},
		"with an unknown status":                {book.Query{Status: "sold"}, "status"},
		"with a cursor that is no base64":       {book.Query{Cursor: "%%%"}, ""},
		"with a cursor that is no JSON":         {book.Query{Cursor: encode([]byte("hello"))}, ""},
		"with a cursor of other JSON":           {book.Query{Cursor: encode([]byte(`{"t":1}`))}, ""},
		"with a cursor that names no title":     {book.Query{Cursor: encode([]byte(`{"t":"","i":"a"}`))}, ""},
		"with a cursor that names no book":      {book.Query{Cursor: encode([]byte(`{"t":"a","i":""}`))}, ""},
		"with a cursor that says more":          {book.Query{Cursor: encode([]byte(`{"t":"a","i":"b","x":1}`))}, ""},
		"with a cursor and something behind it": {book.Query{Cursor: encode([]byte(`{"t":"a","i":"b"}`)) + "!"}, ""},
	} {
		t.Run(claim, func(t *testing.T) {
			_, err := b.store.List(t.Context(), test.query)
			var invalid *book.Invalid
			switch {
			case test.field == "" && !errors.Is(err, book.ErrBadCursor):
				t.Errorf("the error is %v, want a bad cursor", err)
			case test.field != "" && (!errors.As(err, &invalid) || invalid.Fields[0].Field != test.field):
				t.Errorf("the error is %v, want a fault of %s", err, test.field)
			}
		})
	}
}
