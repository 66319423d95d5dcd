package schemas_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas"
)

func TestARecordSaysWhatItIs(t *testing.T) {
	t.Parallel()
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	change, ok := golden["item_added"].value.(schemas.CartChanged)
	if !ok {
		t.Fatal("no change")
	}
	want := []schemas.Header{
		{Key: "ce_specversion", Value: "1.0"}, {Key: "ce_id", Value: "u1:1:7"}, {Key: "ce_source", Value: "/cartstream"}, {Key: "ce_type", Value: "cart.item_added"},
		{Key: "ce_time", Value: "2026-11-22T10:00:00.000Z"}, {Key: "ce_subject", Value: "u1"}, {Key: "content-type", Value: "application/json"}, {Key: "traceparent", Value: trace},
	}
	if got := change.Headers(trace); !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	book, ok := golden["book_created"].value.(schemas.BookChanged)
	if !ok {
		t.Fatal("no book")
	}
	got := book.Headers("")
	for i, name := range []string{1: "b1:1", 3: "book.created", 5: "b1"} {
		if name != "" && got[i].Value != name {
			t.Errorf("%s is %q, want %q", got[i].Key, got[i].Value, name)
		}
	}
	if trace := got[7].Value; !regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$`).MatchString(trace) || trace == book.Headers("")[7].Value {
		t.Errorf("a trace of its own: %s", trace)
	}
}

// franz-go's partitioner is the one that Kafka's Java client has, tested there against Java's results.
func TestAKeyFallsIntoKafkasPartition(t *testing.T) {
	t.Parallel()
	partitioner := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	keys := []string{"", "u", "u1", "u12", "u123", "a:b@c.d-e_f", strings.Repeat("x", 64)}
	for range 1000 {
		keys = append(keys, fmt.Sprintf("%0*x", 1+rand.IntN(60), rand.Uint64()))
	}
	for _, key := range keys {
		for _, n := range []int{1, 2, 16, 128, 1000} {
			if got, want := schemas.Partition(key, n), partitioner.Partition(&kgo.Record{Key: []byte(key)}, n); key != "" && got != want {
				t.Errorf("%q of %d: %d, want %d", key, n, got, want)
			}
		}
		if schemas.Partition(key, 16) != schemas.Partition(key, 128)%16 {
			t.Errorf("%q: the shard isn't in the partition's", key)
		}
	}
}

func TestAnIDIsShortAndPlain(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]bool{
		"u1": true, "A-z_0.9:@": true, strings.Repeat("x", 64): true, "..": true, "-": true,
		"": false, strings.Repeat("x", 65): false, "u 1": false, "u1\n": false, "u/1": false, "ü": false, "u\x00": false, "u1\xff": false, "{u}": false, "[": false, "`": false, ";": false,
	} {
		if got := schemas.ValidID(id); got != want {
			t.Errorf("%q: %v, want %v", id, got, want)
		}
	}
}

func TestAChangeIsAppliedByTheContractsRule(t *testing.T) {
	t.Parallel()
	line := func(id string, quantity int64) schemas.Line { return schemas.Line{BookID: id, Quantity: quantity} }
	cart := schemas.Cart{UserID: "u1", Epoch: 5, Version: 7, Items: []schemas.Line{line("a", 1), line("b", 2)}}
	for claim, tc := range map[string]struct {
		epoch, version int64
		whole          bool
		items          []schemas.Line
		want           schemas.Outcome
		after          []schemas.Line
	}{
		"the next one adds a line last":              {5, 8, false, []schemas.Line{line("c", 3)}, schemas.Applied, []schemas.Line{line("a", 1), line("b", 2), line("c", 3)}},
		"the next one replaces a line in its place":  {5, 8, false, []schemas.Line{line("a", 9)}, schemas.Applied, []schemas.Line{line("a", 9), line("b", 2)}},
		"the next one drops a line":                  {5, 8, false, []schemas.Line{line("a", 0)}, schemas.Applied, []schemas.Line{line("b", 2)}},
		"dropping what isn't there changes no line":  {5, 8, false, []schemas.Line{line("x", 0)}, schemas.Applied, []schemas.Line{line("a", 1), line("b", 2)}},
		"the same one again":                         {5, 7, false, []schemas.Line{line("c", 3)}, schemas.Stale, nil},
		"the same one again, whole":                  {5, 7, true, []schemas.Line{line("c", 3)}, schemas.Stale, nil},
		"an older one":                               {5, 6, false, nil, schemas.Stale, nil},
		"a higher version of an older epoch, whole":  {4, 99, true, []schemas.Line{line("c", 3)}, schemas.Stale, nil},
		"one after the next":                         {5, 9, false, []schemas.Line{line("c", 3)}, schemas.Gap, nil},
		"one after the next, whole":                  {5, 9, true, []schemas.Line{line("c", 3)}, schemas.Applied, []schemas.Line{line("c", 3)}},
		"a higher epoch":                             {6, 8, false, []schemas.Line{line("c", 3)}, schemas.Gap, nil},
		"a higher epoch, whole, with a lower number": {6, 2, true, []schemas.Line{line("c", 3), line("a", 0)}, schemas.Applied, []schemas.Line{line("c", 3)}},
		"cleared": {5, 8, true, []schemas.Line{}, schemas.Applied, []schemas.Line{}},
	} {
		t.Run(claim, func(t *testing.T) {
			got := cart
			got.Items = slices.Clone(cart.Items)
			change := schemas.CartChanged{UserID: "u1", Epoch: tc.epoch, Version: tc.version, Whole: tc.whole, Items: tc.items, Currency: "EUR", OccurredAt: at}
			if outcome := got.Apply(change); outcome != tc.want {
				t.Fatalf("outcome %v, want %v", outcome, tc.want)
			}
			if tc.want != schemas.Applied {
				if !reflect.DeepEqual(got, cart) {
					t.Errorf("the cart became %+v", got)
				}
				return
			}
			if got.Epoch != tc.epoch || got.Version != tc.version || !got.UpdatedAt.Equal(at.Time) || !reflect.DeepEqual(got.Items, tc.after) {
				t.Errorf("the cart became %+v, want the lines %+v", got, tc.after)
			}
		})
	}
}

func TestAnAppliedPriceIsACopy(t *testing.T) {
	t.Parallel()
	price := int64(7)
	change := schemas.CartChanged{UserID: "u1", Epoch: 1, Version: 1, Whole: true, Items: []schemas.Line{{BookID: "a", Quantity: 1, PreviousUnitPrice: &price}}}
	var cart schemas.Cart
	cart.Apply(change)
	price = 8
	if got := *cart.Items[0].PreviousUnitPrice; got != 7 {
		t.Errorf("the cart's previous price became %d with the change's", got)
	}
}

func TestATimeIsReadInAnyZoneAndWrittenInOne(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`"2026-11-22T11:00:00+01:00"`: "2026-11-22T10:00:00.000Z", `"2026-11-22T10:00:00.0129999Z"`: "2026-11-22T10:00:00.012Z", `"1969-12-31T23:59:59.999Z"`: "1969-12-31T23:59:59.999Z",
	} {
		var got schemas.Time
		if err := got.UnmarshalJSON([]byte(text)); err != nil || got.String() != want {
			t.Errorf("%s reads as %s, %v, want %s", text, got, err, want)
		}
	}
	if err := new(schemas.Time).UnmarshalJSON([]byte(`"22.11.2026"`)); err == nil {
		t.Error("a date without a time was read")
	}
}
