package parking_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/parking"
)

// letter returns a dead letter with this id.
func letter(id string) *kgo.Record {
	return &kgo.Record{Topic: "dlq", Key: []byte("k-" + id), Value: []byte("v-" + id), Headers: []kgo.RecordHeader{
		{Key: "raw", Value: []byte{0xff, 0}}, {Key: "dlq.id", Value: []byte(id)},
	}}
}

func letters(ids ...string) []*kgo.Record {
	var all []*kgo.Record
	for _, id := range ids {
		all = append(all, letter(id))
	}
	return all
}

func ids(letters []*kgo.Record) []string {
	out := []string{}
	for _, l := range letters {
		for _, h := range l.Headers {
			if h.Key == "dlq.id" {
				out = append(out, string(h.Value))
			}
		}
	}
	return out
}

const roomy = 1 << 20

func spool(t *testing.T, dir string, limit int64) *parking.Spool {
	t.Helper()
	s, err := parking.NewSpool(dir, limit, slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// holds fails unless these letters, in this order, are what waits for the topic.
func holds(t *testing.T, s *parking.Spool, want ...string) []*kgo.Record {
	t.Helper()
	got, err := s.Unwritten(t.Context(), 0, 1000)
	must(t, err)
	if !slices.Equal(ids(got), want) && len(want)+len(got) > 0 {
		t.Fatalf("held %q, want %q", ids(got), want)
	}
	return got
}

func file(dir string) string { return filepath.Join(dir, "letters.spool") }

func damaged(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "damaged-*"))
	must(t, err)
	return found
}

func TestALetterComesBackAsItWas(t *testing.T) {
	dir := t.TempDir()
	s := spool(t, dir, roomy)
	original := []*kgo.Record{
		letter("whole"),
		{Topic: "dlq", Headers: []kgo.RecordHeader{{Key: "dlq.id", Value: []byte("null")}, {Key: "none"}}},
		{Topic: "dlq", Key: []byte{}, Value: []byte{}, Headers: []kgo.RecordHeader{{Key: "a\xffb", Value: []byte{}}, {Key: "dlq.id", Value: []byte("empty")}}},
	}
	must(t, s.Park(t.Context(), original))
	must(t, s.Close())
	for i, got := range holds(t, spool(t, dir, roomy), "whole", "null", "empty") {
		want := original[i]
		same := slices.EqualFunc(got.Headers, want.Headers, func(a, b kgo.RecordHeader) bool {
			return a.Key == b.Key && bytes.Equal(a.Value, b.Value) && (a.Value == nil) == (b.Value == nil)
		})
		if got.Topic != want.Topic || !bytes.Equal(got.Key, want.Key) || !bytes.Equal(got.Value, want.Value) ||
			(got.Key == nil) != (want.Key == nil) || (got.Value == nil) != (want.Value == nil) || !same {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestWhatIsWrittenIsLetGoOf(t *testing.T) {
	dir := t.TempDir()
	s := spool(t, dir, roomy)
	must(t, s.Park(t.Context(), letters("a", "b", "c")))
	must(t, s.Written(t.Context(), letters("b")...))
	holds(t, s, "a", "c")
	must(t, s.Written(t.Context(), letters("a", "unknown")...))
	holds(t, s, "c")
	must(t, s.Written(t.Context(), letters("c")...))
	holds(t, s)
	if info, err := os.Stat(file(dir)); err != nil || info.Size() != 0 {
		t.Errorf("the file: %v, %v", info, err)
	}
	must(t, s.Park(t.Context(), letters("d")))
	must(t, s.Close())
	holds(t, spool(t, dir, roomy), "d")
}

func TestALetterThatIsHeldTakesNoMoreRoom(t *testing.T) {
	s := spool(t, t.TempDir(), roomy)
	must(t, s.Park(t.Context(), letters("a", "b")))
	must(t, s.Park(t.Context(), letters("b", "a", "c")))
	holds(t, s, "a", "b", "c")
	again := letter("a")
	again.Value = []byte("failed once more")
	must(t, s.Park(t.Context(), []*kgo.Record{again}))
	holds(t, s, "a", "b", "c", "a")
	must(t, s.Written(t.Context(), letter("a")))
	if got := holds(t, s, "b", "c", "a"); string(got[2].Value) != "failed once more" {
		t.Errorf("the wrong one is left: %s", got[2].Value)
	}
}

func TestAPageOfLettersIsBounded(t *testing.T) {
	s := spool(t, t.TempDir(), 64<<20)
	large := letters("a", "b", "c")
	for _, l := range large {
		l.Value = bytes.Repeat([]byte("x"), 5<<20)
	}
	must(t, s.Park(t.Context(), large))
	got, err := s.Unwritten(t.Context(), 0, 100)
	if err != nil || len(got) != 1 {
		t.Errorf("%d letters of 5 MiB at once, %v", len(got), err)
	}
	must(t, s.Written(t.Context(), large...))
	must(t, s.Park(t.Context(), letters("d", "e", "f")))
	if got, err := s.Unwritten(t.Context(), 0, 2); err != nil || !slices.Equal(ids(got), []string{"d", "e"}) {
		t.Errorf("got %q, %v", ids(got), err)
	}
}

func TestATornTailCostsNoLetterButItsOwn(t *testing.T) {
	dir := t.TempDir()
	s := spool(t, dir, roomy)
	must(t, s.Park(t.Context(), letters("a", "b")))
	must(t, s.Close())
	two, err := os.ReadFile(file(dir))
	must(t, err)
	s = spool(t, dir, roomy)
	must(t, s.Park(t.Context(), letters("c")))
	must(t, s.Close())
	three, err := os.ReadFile(file(dir))
	must(t, err)
	for cut := len(two); cut < len(three); cut++ {
		dir := t.TempDir()
		must(t, os.WriteFile(file(dir), three[:cut], 0o600))
		s := spool(t, dir, roomy)
		holds(t, s, "a", "b")
		if left := damaged(t, dir); (len(left) == 1) != (cut > len(two)) {
			t.Fatalf("cut at %d: set aside %q", cut, left)
		} else if len(left) == 1 {
			kept, err := os.ReadFile(left[0])
			if err != nil || !bytes.Equal(kept, three[len(two):cut]) {
				t.Fatalf("cut at %d: set aside %d bytes, %v", cut, len(kept), err)
			}
		}
		must(t, s.Park(t.Context(), letters("d")))
		must(t, s.Close())
		holds(t, spool(t, dir, roomy), "a", "b", "d")
		if left := damaged(t, dir); len(left) > 1 {
			t.Fatalf("cut at %d: the same damage was found again: %q", cut, left)
		}
	}
}

func TestZerosAfterTheLastLetterAreATornTail(t *testing.T) {
	dir := t.TempDir()
	s := spool(t, dir, roomy)
	must(t, s.Park(t.Context(), letters("a")))
	must(t, s.Close())
	f, err := os.OpenFile(file(dir), os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	_, err = f.Write(make([]byte, 4096))
	must(t, errors.Join(err, f.Close()))
	s = spool(t, dir, roomy)
	must(t, s.Park(t.Context(), letters("b")))
	holds(t, s, "a", "b")
}

func TestASpoiledByteCostsNoLetterBeforeIt(t *testing.T) {
	dir := t.TempDir()
	s := spool(t, dir, roomy)
	must(t, s.Park(t.Context(), letters("a")))
	one, err := os.Stat(file(dir))
	must(t, err)
	must(t, s.Park(t.Context(), letters("b")))
	two, err := os.Stat(file(dir))
	must(t, err)
	must(t, s.Park(t.Context(), letters("c")))
	whole, err := os.ReadFile(file(dir))
	must(t, err)
	for at := one.Size(); at < two.Size(); at++ {
		dir := t.TempDir()
		spoiled := slices.Clone(whole)
		spoiled[at] ^= 0x40
		must(t, os.WriteFile(file(dir), spoiled, 0o600))
		s := spool(t, dir, roomy)
		got, err := s.Unwritten(t.Context(), 0, 10)
		must(t, err)
		inLength := at < one.Size()+4 // what follows can't be told then
		found, want := ids(got), []string{"a", "c"}
		if inLength && len(found) == 1 {
			want = want[:1]
		}
		if !slices.Equal(found, want) {
			t.Fatalf("byte %d: held %q", at, found)
		}
		if len(damaged(t, dir)) != 1 {
			t.Fatalf("byte %d: nothing was set aside", at)
		}
		must(t, s.Close())
	}
}

func TestAByteSpoiledWhileTheSpoolIsOpenHoldsUpNoOtherLetter(t *testing.T) {
	dir := t.TempDir()
	s := spool(t, dir, roomy)
	must(t, s.Park(t.Context(), letters("a", "b", "c")))
	whole, err := os.ReadFile(file(dir))
	must(t, err)
	whole[len(whole)/2] ^= 1
	must(t, os.WriteFile(file(dir), whole, 0o600)) // the same inode
	if _, err := s.Unwritten(t.Context(), 0, 10); err == nil {
		t.Error("nothing was said")
	}
	holds(t, s, "a", "c")
	if len(damaged(t, dir)) != 1 {
		t.Error("nothing was set aside")
	}
}

func TestAFullSpoolTakesNothingUntilThereIsRoom(t *testing.T) {
	dir := t.TempDir()
	s := spool(t, dir, 1000)
	n := 0
	var err error
	for ; err == nil; n++ {
		err = s.Park(t.Context(), letters(fmt.Sprintf("l%d", n)))
	}
	n--
	if !errors.Is(err, parking.ErrFull) || n < 3 {
		t.Fatalf("after %d letters: %v", n, err)
	}
	got, err := s.Unwritten(t.Context(), 0, 100)
	must(t, err)
	if info, err := os.Stat(file(dir)); err != nil || info.Size() > 1000 || len(got) != n {
		t.Errorf("the file: %v, %v; %d of %d letters", info, err, len(got), n)
	}
	must(t, s.Written(t.Context(), got[1])) // in the middle
	must(t, s.Park(t.Context(), letters("next")))
	got, err = s.Unwritten(t.Context(), 0, 100)
	must(t, err)
	if len(got) != n || ids(got)[n-1] != "next" || slices.Contains(ids(got), "l1") {
		t.Errorf("held %q", ids(got))
	}
	must(t, s.Close())
	again, err := spool(t, dir, 1000).Unwritten(t.Context(), 0, 100)
	if err != nil || !slices.Equal(ids(again), ids(got)) {
		t.Errorf("after a restart %q, %v", ids(again), err)
	}
}

func TestOneProcessAtATimeHasTheSpool(t *testing.T) {
	dir := t.TempDir()
	first, second := spool(t, dir, roomy), spool(t, dir, roomy)
	must(t, first.Park(t.Context(), letters("a")))
	if err := second.Park(t.Context(), letters("b")); err == nil {
		t.Fatal("both have it")
	}
	if _, err := second.Unwritten(t.Context(), 0, 10); err == nil {
		t.Fatal("both read it")
	}
	must(t, first.Close())
	must(t, second.Park(t.Context(), letters("b")))
	holds(t, second, "a", "b")
}

func TestAnyNumberOfPartitionsParkAtOnce(t *testing.T) {
	dir := t.TempDir()
	s := spool(t, dir, roomy)
	var all sync.WaitGroup
	for p := range 8 {
		all.Go(func() {
			for n := range 10 {
				if err := s.Park(t.Context(), letters(fmt.Sprintf("%d-%d", p, n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		for range 10 {
			got, err := s.Unwritten(t.Context(), 0, 3)
			if err != nil || s.Written(t.Context(), got...) != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	got, err := s.Unwritten(t.Context(), 0, 1000)
	must(t, err)
	must(t, s.Close())
	again, err := spool(t, dir, roomy).Unwritten(t.Context(), 0, 1000)
	must(t, err)
	for _, id := range ids(got) {
		if !slices.Contains(ids(again), id) {
			t.Errorf("%s is lost", id)
		}
	}
}

func TestADirectoryThatTakesNoFilesIsRefusedAtOnce(t *testing.T) {
	aFile := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(aFile, nil, 0o600))
	for claim, dir := range map[string]string{"it isn't there": filepath.Join(t.TempDir(), "none"), "it is a file": aFile} {
		if _, err := parking.NewSpool(dir, roomy, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: nothing was said", claim)
		}
	}
	dir := t.TempDir()
	spool(t, dir, roomy)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("the check left %v, %v", left, err)
	}
}
