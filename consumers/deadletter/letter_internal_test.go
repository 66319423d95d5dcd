package deadletter

import (
	"fmt"
	"testing"

	"cartstream/schemas"
)

func TestAnotherWritingOfALetter(t *testing.T) {
	at := func(ms int64) *schemas.Time { m := schemas.Milliseconds(ms); return &m }
	open := letter{Attempts: 10, FirstFailedAt: *at(100), LastFailedAt: *at(200), Status: Parked, At: &spot{0, 5}}
	ended := func(as Status) letter {
		l := open
		l.resolve(as, *at(500), "")
		return l
	}
	for claim, c := range map[string]struct {
		stored letter
		comes  letter
		want   string // status, attempts, first and last failure, place in the topic
	}{
		"the same is a repeat":                               {open, letter{Attempts: 10, FirstFailedAt: *at(100), LastFailedAt: *at(200), At: &spot{0, 5}}, "false parked 10 100 200 5"},
		"the same further on is a repeat, whatever its time": {open, letter{Attempts: 10, FirstFailedAt: *at(100), LastFailedAt: *at(900), At: &spot{0, 7}}, "false parked 10 100 200 5"},
		"more attempts are another failure":                  {open, letter{Attempts: 11, FirstFailedAt: *at(100), LastFailedAt: *at(300), At: &spot{0, 7}}, "true parked 11 100 300 7"},
		"more attempts told before the topic does":           {open, letter{Attempts: 11, FirstFailedAt: *at(100), LastFailedAt: *at(300)}, "true parked 11 100 300 5"},
		"fewer attempts are an older writing":                {open, letter{Attempts: 1, FirstFailedAt: *at(90), LastFailedAt: *at(100), At: &spot{0, 1}}, "true parked 10 90 200 5"},
		"a late repeat leaves a replayed one alone":          {ended(Replayed), letter{Attempts: 10, FirstFailedAt: *at(100), LastFailedAt: *at(300), At: &spot{0, 7}}, "false replayed 10 100 200 5"},
		"more attempts reopen a replayed one":                {ended(Replayed), letter{Attempts: 11, FirstFailedAt: *at(100), LastFailedAt: *at(300), At: &spot{0, 7}}, "true parked 11 100 300 7"},
		"a failure after its end reopens a discarded one":    {ended(Discarded), letter{Attempts: 10, FirstFailedAt: *at(100), LastFailedAt: *at(600), At: &spot{0, 7}}, "true parked 10 100 600 7"},
		"a failure after its end reopens a superseded one":   {ended(Superseded), letter{Attempts: 1, FirstFailedAt: *at(100), LastFailedAt: *at(600), At: &spot{0, 7}}, "true parked 10 100 600 7"},
	} {
		t.Run(claim, func(t *testing.T) {
			l := c.stored
			changed := l.fold(c.comes)
			if got := fmt.Sprintf("%t %s %d %d %d %d", changed, l.Status, l.Attempts, l.FirstFailedAt.UnixMilli(), l.LastFailedAt.UnixMilli(), l.At.Offset); got != c.want {
				t.Errorf("it is %s, want %s", got, c.want)
			}
			if (l.ResolvedAt != nil) != (l.Status != Parked) {
				t.Errorf("%s, but ended at %v", l.Status, l.ResolvedAt)
			}
		})
	}
}

func TestTheTopicMakesAnUnwrittenLetterWritten(t *testing.T) {
	l := letter{Attempts: 2, Unwritten: true, Status: Parked}
	if l.fold(letter{Attempts: 1, At: &spot{0, 1}, LastFailedAt: schemas.Milliseconds(1)}); l.Unwritten != true || l.At == nil {
		t.Errorf("an older writing settled it: %+v", l)
	}
	if l.fold(letter{Attempts: 2, At: &spot{0, 2}}); l.Unwritten || l.At.Offset != 2 {
		t.Errorf("letter %+v", l)
	}
}
