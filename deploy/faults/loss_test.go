package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAFileIsCutWhereItGrewAtThatTime(t *testing.T) {
	began := time.Unix(1000, 0)
	plain, transaction := strings.Repeat("*1\r\n$4\r\nPING\r\n", 10), "*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nEXEC\r\n"
	text := plain + plain + transaction + plain
	var grown growth
	for i, size := range []int{0, len(plain), 2 * len(plain), 2*len(plain) + len(transaction), len(text)} {
		grown = append(grown, struct {
			at   time.Time
			size int64
		}{began.Add(time.Duration(i) * time.Second), int64(size)})
	}
	multi, exec := strings.Index(text, "MULTI"), strings.Index(text, "EXEC")
	for claim, c := range map[string]struct {
		at          time.Duration
		inside      bool
		least, most int
	}{
		"at its beginning":                    {0, false, 0, len(plain)},
		"between two sizes":                   {1500 * time.Millisecond, false, len(plain), 2 * len(plain)},
		"after the last size nothing is lost": {time.Minute, false, len(text), len(text)},
		"inside the next transaction":         {1500 * time.Millisecond, true, multi, exec},
		"where none follows, anywhere":        {3500 * time.Millisecond, true, 2*len(plain) + len(transaction), len(text)},
	} {
		t.Run(claim, func(t *testing.T) {
			for seed := range uint64(50) {
				file := filepath.Join(t.TempDir(), "aof")
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := truncate(file, grown, began.Add(c.at), c.inside, rand.New(rand.NewPCG(seed, 0))); err != nil {
					t.Fatal(err)
				}
				left, err := os.Stat(file)
				if err != nil {
					t.Fatal(err)
				}
				if n := int(left.Size()); n < c.least || n > c.most {
					t.Fatalf("%d bytes are left, want %d to %d", n, c.least, c.most)
				}
			}
		})
	}
}
