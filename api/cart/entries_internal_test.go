package cart

import (
	"fmt"
	"strings"
	"testing"
)

func TestWhatRedisAnswersAReadOfOutboxes(t *testing.T) {
	text := func(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }
	entry := func(id, value string) string { return "*2\r\n" + text(id) + "*2\r\n" + text("cart") + text(value) }
	a := text("a") + "*2\r\n" + entry("1-1", "one\r\ntwo") + entry("1-2", "")
	b := text("b") + "*1\r\n" + entry("1-3", "three")
	const both = `a 1-1 cart "one\r\ntwo", a 1-2 cart "", b 1-3 cart "three"`
	for claim, c := range map[string]struct{ answer, want, err string }{
		"lists, in version 2 of the protocol":     {"*2\r\n*2\r\n" + a + "*2\r\n" + b, both, ""},
		"a map, in version 3":                     {"%2\r\n" + a + b, both, ""},
		"nothing, in version 2":                   {"*-1\r\n", "", ""},
		"nothing, in version 3":                   {"_\r\n", "", ""},
		"an error, with its words":                {"-MOVED 1 127.0.0.1:7000\r\n", "", "MOVED 1 127.0.0.1:7000"},
		"a reply that ends early":                 {"%2\r\n" + a + "$1\r\n", "", "ends within"},
		"no streams at all":                       {":7\r\n", "", "can't be read"},
		"a stream without entries":                {"%1\r\n" + text("a") + "$1\r\nx\r\n", "", "can't be read"},
		"an entry whose fields aren't there":      {"%1\r\n" + text("a") + "*1\r\n*2\r\n" + text("1-1") + "*-1\r\n", "", "can't be read"},
		"a name of a stream that isn't any text":  {"%1\r\n:1\r\n*0\r\n", "", "can't be read"},
		"a stream's entry that isn't one at all ": {"%1\r\n" + text("a") + "*1\r\n:1\r\n", "", "can't be read"},
	} {
		t.Run(claim, func(t *testing.T) {
			var got []string
			err := eachStream([]byte(c.answer), func(stream []byte, entries []streamEntry) error {
				for _, e := range entries {
					got = append(got, fmt.Sprintf("%s %s %s %q", stream, e.id, e.kind, e.value))
				}
				return nil
			})
			switch {
			case c.err == "" && err != nil, c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Fatalf("error %v, want %q", err, c.err)
			case c.err == "" && strings.Join(got, ", ") != c.want:
				t.Fatalf("got  %s\nwant %s", strings.Join(got, ", "), c.want)
			}
		})
	}
}
