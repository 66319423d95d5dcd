package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// samples are one figure, once for each round.
type samples []float64

// over divides round by round: both sides of a round had the same minutes. A round without a divisor has no ratio.
func (s samples) over(t samples) samples {
	var out samples
	for i := range s {
		if i < len(t) && t[i] != 0 {
			out = append(out, s[i]/t[i])
		}
	}
	return out
}

// minus subtracts round by round.
func (s samples) minus(t samples) samples {
	out := make(samples, min(len(s), len(t)))
	for i := range out {
		out[i] = s[i] - t[i]
	}
	return out
}

// show is min, median and max in digits after the point.
func (s samples) show(digits int) string {
	if len(s) == 0 {
		return "-"
	}
	sorted := slices.Sorted(slices.Values(s))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + median) / 2
	}
	parts := make([]string, 3)
	for i, v := range []float64{sorted[0], median, sorted[len(sorted)-1]} {
		parts[i] = fmt.Sprintf("%.*f", digits, v)
	}
	return strings.Join(parts, " · ")
}

// series are the figures of one side: for each column one sample a round.
type series struct {
	name  string
	cells []samples
}

// add adds one round.
func (s *series) add(figures ...float64) {
	s.cells = slices.Grow(s.cells, len(figures))[:len(figures)]
	for i, f := range figures {
		s.cells[i] = append(s.cells[i], f)
	}
}

// table is figures for people.
type table struct {
	columns []column
	rows    []row
}

type column struct {
	name   string
	digits int
}

type row struct {
	series
	ratio bool
}

// head adds a line that says what follows.
func (t *table) head(name string) { t.rows = append(t.rows, row{series{name: name}, false}) }

// compare adds both sides and how many times the second the first is.
func (t *table) compare(a, b series) {
	r := series{name: a.name + " / " + strings.TrimSpace(b.name)}
	for i := range a.cells {
		r.cells = append(r.cells, a.cells[i].over(b.cells[i]))
	}
	t.rows = append(t.rows, row{a, false}, row{b, false}, row{r, true})
}

// differ adds how much more than the second the first is.
func (t *table) differ(a, b series) {
	r := series{name: a.name + " − " + strings.TrimSpace(b.name)}
	for i := range a.cells {
		r.cells = append(r.cells, a.cells[i].minus(b.cells[i]))
	}
	t.rows = append(t.rows, row{r, false})
}

func (t *table) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, c := range t.columns {
		_, _ = fmt.Fprintf(tw, "\t%s", c.name) // Flush reports it
	}
	_, _ = fmt.Fprintln(tw)
	for _, r := range t.rows {
		_, _ = fmt.Fprint(tw, r.name)
		if len(r.cells) == 0 {
			_, _ = fmt.Fprint(tw, strings.Repeat("\t", len(t.columns))) // columns end at a line without them
		}
		for i, c := range r.cells {
			digits := t.columns[i].digits
			if r.ratio {
				digits = 2
			}
			_, _ = fmt.Fprint(tw, "\t", c.show(digits))
		}
		_, _ = fmt.Fprintln(tw)
	}
	return tw.Flush()
}
