package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// tables are the figures of all scenarios that ran, as Markdown.
type tables struct {
	runs []figures
}

// figures are what one scenario came to.
type figures struct {
	name         string
	acks         string // what a change was answered after
	lasted       time.Duration
	acknowledged int
	struck       map[string]int
	healed       map[string][]time.Duration
	losses       []loss
	lost         int
	ages         []time.Duration // of what was lost, when it was
	diverged     int
}

// write prints each table that has a row.
func (t *tables) write(out io.Writer) {
	table(out, "scenario | seconds | changes acknowledged | faults | lost | diverged after 60 s", t.runs, func(f figures) string {
		n := 0
		for _, times := range f.struck {
			n += times
		}
		return fmt.Sprintf("%s | %.0f | %d | %d | %d | %d", f.name, f.lasted.Seconds(), f.acknowledged, n, f.lost, f.diverged)
	})
	var lossy []figures
	struck, healed, served := map[string]int{}, map[string][]time.Duration{}, map[string][]time.Duration{}
	for _, f := range t.runs {
		if len(f.losses) > 0 {
			lossy = append(lossy, f)
		}
		for kind, n := range f.struck {
			struck[kind] += n
			healed[kind] = append(healed[kind], f.healed[kind]...)
		}
		for _, l := range f.losses {
			served[l.kind] = append(served[l.kind], l.ready)
		}
	}
	table(out, "scenario | answered after | losses of Redis | changes acknowledged | of them lost | their age, median · most", lossy, func(f figures) string {
		age := "–"
		if len(f.ages) > 0 {
			age = fmt.Sprintf("%d · %d ms", median(f.ages).Milliseconds(), slices.Max(f.ages).Milliseconds())
		}
		return fmt.Sprintf("%s | %s | %d | %d | %d | %s", f.name, f.acks, len(f.losses), f.acknowledged, f.lost, age)
	})
	table(out, "loss of Redis | times | every shard served again after, median · most", slices.Sorted(maps.Keys(served)), func(kind string) string {
		return fmt.Sprintf("%s | %s", kind, spread(served[kind]))
	})
	table(out, "strike | times | of them waited for | everything equal again after, median · most", slices.Sorted(maps.Keys(struck)), func(kind string) string {
		return fmt.Sprintf("%s | %d | %s", kind, struck[kind], spread(healed[kind]))
	})
}

// table prints a heading and a row for each of rows, nothing where there are none.
func table[T any](out io.Writer, heading string, rows []T, row func(T) string) {
	if len(rows) == 0 {
		return
	}
	_, _ = fmt.Fprintf(out, "\n| %s |\n|%s\n", heading, strings.Repeat("---|", 1+strings.Count(heading, "|")))
	for _, r := range rows {
		_, _ = fmt.Fprintf(out, "| %s |\n", row(r))
	}
}

// spread is how many there are, their median and the longest, in seconds.
func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "0 | –"
	}
	return fmt.Sprintf("%d | %.1f · %.1f s", len(all), median(all).Seconds(), slices.Max(all).Seconds())
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
