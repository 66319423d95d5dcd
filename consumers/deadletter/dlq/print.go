package dlq

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"cartstream/consumers/deadletter"
)

// longestError is how much of an error a table shows; show tells all of it.
const longestError = 60

// table is one letter a line.
func (c *call) table(letters []deadletter.DeadLetter, more bool) error {
	if len(letters) == 0 {
		_, err := fmt.Fprintln(c.out, "no such letters")
		return err
	}
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	// Errors stay in the writer: Flush reports them.
	_, _ = fmt.Fprintln(t, "ID\tSTATUS\tVERDICT\tGROUP\tCLASS\tUSER\tTRIED\tLAST FAILED\tERROR")
	for _, l := range letters {
		text := []rune(printable(l.Error))
		if len(text) > longestError {
			text = append(text[:longestError-1], '…')
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", printable(l.ID), l.Status, verdict(l), or(l.Group), l.Class,
			or(l.UserID), l.Attempts, l.LastFailedAt, string(text))
	}
	if more {
		_, _ = fmt.Fprintln(t, "… there are more: --limit 0 shows all")
	}
	return t.Flush()
}

func verdict(l deadletter.DeadLetter) string {
	if l.Verdict == nil {
		return "-"
	}
	return printable(string(*l.Verdict))
}

func or(text string) string {
	if text == "" {
		return "-"
	}
	return printable(text)
}

// whole is a letter, a line a field.
func (c *call) whole(l deadletter.Whole, history []deadletter.Entry) error {
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	line := func(name string, value any) { _, _ = fmt.Fprintf(t, "%s\t%s\n", name, printable(fmt.Sprint(value))) }
	line("id", l.ID)
	line("status", l.Status)
	line("verdict", verdict(l.DeadLetter))
	line("group", or(l.Group))
	line("record", fmt.Sprintf("%s, partition %d, offset %d", l.Topic, l.Partition, l.Offset))
	line("key", or(l.Key))
	line("user", or(l.UserID))
	line("class", l.Class)
	line("error", l.Error)
	line("attempts", l.Attempts)
	line("first failed", l.FirstFailedAt)
	line("last failed", l.LastFailedAt)
	for _, name := range slices.Sorted(maps.Keys(l.Headers)) {
		line("header "+printable(name), l.Headers[name])
	}
	for _, e := range history {
		line("history", strings.TrimSpace(fmt.Sprintf("%s %s by %s: %s %s", e.At, e.Action, e.By, e.Outcome, e.Reason)))
	}
	_, _ = fmt.Fprintf(t, "\n%s\n", value(l.Value))
	return t.Flush()
}

// value is one as a terminal can show it: JSON in lines, text as it is, anything else as base64.
func value(v *[]byte) string {
	if v == nil {
		return "the value is null"
	}
	var indented bytes.Buffer
	switch {
	case len(*v) == 0:
		return "the value is empty"
	case json.Indent(&indented, *v, "", "  ") == nil && utf8.Valid(*v):
		var lines []string
		for line := range strings.Lines(indented.String()) {
			lines = append(lines, printable(strings.TrimSuffix(line, "\n")))
		}
		return strings.Join(lines, "\n")
	case utf8.Valid(*v):
		return printable(string(*v))
	}
	return "base64: " + base64.StdEncoding.EncodeToString(*v)
}

func (c *call) summary(sum deadletter.Summary, dry bool) error {
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(t, "matched\t%d\n", sum.Matched)
	for _, name := range slices.Sorted(maps.Keys(sum.Verdicts)) {
		_, _ = fmt.Fprintf(t, "  %s\t%d\n", printable(string(name)), sum.Verdicts[name])
	}
	if dry {
		_, _ = fmt.Fprint(t, "nothing was replayed: a dry run\n")
	} else {
		_, _ = fmt.Fprintf(t, "replayed\t%d\n", sum.Replayed)
	}
	return t.Flush()
}

// printable keeps what others wrote from steering the terminal, or from leaving its column.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case !unicode.IsPrint(r):
			return '\uFFFD'
		}
		return r
	}, text)
}
