// Package replay repeats the script calls that the API makes, without knowing more of the API than Redis is told: the
// calls are recorded once for each user, on the wire, and filled in with another book, key and time.
package replay

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Where a recorded add holds what changes from call to call; the header of the API's mutation.lua and add.lua says so.
const (
	keyCart, keyOutbox                    = 1, 2
	keyFacts, keyUsers, keyKept, keys     = 3, 4, 5, 6
	argMeta, argNow, argBook, argQuantity = 1, 2, 8, 9
	argLimit                              = 10
	args                                  = 13
)

// ErrUnlike says that a recorded call is not built as this package knows it.
var ErrUnlike = errors.New("the API's call is not built as expected: api/cart/lua has changed")

// Call is one EVALSHA as it was recorded.
type Call struct {
	SHA  string
	Keys []string
	Args []string
}

// Adds are the calls to repeat: for each user one without and one with an Idempotency-Key.
type Adds struct {
	Book         string // that the recorded calls are about
	Plain, Keyed map[string]Call
}

// Take keeps what a line of MONITOR tells, where it is an add of the book, and reports whether it was.
func (a *Adds) Take(line string) (bool, error) {
	words, err := parse(line)
	if err != nil {
		return false, err
	}
	if len(words) < 3 || !strings.EqualFold(words[0], "EVALSHA") {
		return false, nil
	}
	n, err := strconv.Atoi(words[2])
	if err != nil || n < 0 || len(words) < 3+n {
		return false, fmt.Errorf("EVALSHA with %q keys", words[2])
	}
	c := Call{SHA: words[1], Keys: words[3 : 3+n], Args: words[3+n:]}
	if len(c.Args) <= argBook || c.Args[argBook] != a.Book {
		return false, nil // a heartbeat, or another script
	}
	if err := a.check(c); err != nil {
		return false, err
	}
	if len(c.Keys) == keys {
		a.Keyed[c.Args[0]] = c
	} else {
		a.Plain[c.Args[0]] = c
	}
	return true, nil
}

func (a *Adds) check(c Call) error {
	about := func(key string) bool { return strings.HasSuffix(key, ":"+a.Book) }
	ok := len(c.Args) == args && (len(c.Keys) == keys || len(c.Keys) == keys-1) &&
		about(c.Keys[keyFacts]) && about(c.Keys[keyUsers]) && len(strings.Fields(c.Args[argMeta])) == 3
	if ok && len(c.Keys) == keys {
		ok = strings.HasSuffix(c.Keys[keyKept], ":"+strings.Fields(c.Args[argMeta])[1])
	}
	if !ok {
		return fmt.Errorf("%w: %d keys, %d arguments: %q", ErrUnlike, len(c.Keys), len(c.Args), c.Keys)
	}
	return nil
}

// Add returns the call for the user, book, quantity and, unless it is "", the hash of an Idempotency-Key.
func (a *Adds) Add(user, book, quantity, key string) (Call, error) {
	recorded := a.Plain
	if key != "" {
		recorded = a.Keyed
	}
	c, ok := recorded[user]
	if !ok {
		return Call{}, fmt.Errorf("no call of %s was recorded", user)
	}
	c.Keys, c.Args = slices.Clone(c.Keys), slices.Clone(c.Args)
	for _, i := range []int{keyFacts, keyUsers} {
		c.Keys[i] = strings.TrimSuffix(c.Keys[i], a.Book) + book
	}
	c.Args[argBook], c.Args[argQuantity] = book, quantity
	c.Args[argNow] = strconv.FormatInt(time.Now().UnixMilli(), 10)
	if key != "" {
		trace, rest, _ := strings.Cut(c.Args[argMeta], " ")
		old, request, _ := strings.Cut(rest, " ")
		c.Args[argMeta] = trace + " " + key + " " + request
		c.Keys[keyKept] = strings.TrimSuffix(c.Keys[keyKept], old) + key
	}
	return c, nil
}

// Cart returns the key of the user's cart, "" where no add of the user was recorded.
func (a *Adds) Cart(user string) string {
	if c, ok := a.Plain[user]; ok {
		return c.Keys[keyCart]
	}
	return ""
}

// Outbox returns the key of the outbox that the user's changes go to, "" where no add of the user was recorded.
func (a *Adds) Outbox(user string) string {
	if c, ok := a.Plain[user]; ok {
		return c.Keys[keyOutbox]
	}
	return ""
}

// As returns a call by which the user adds the book once at the time, as often as they like: without a key, and in the shard
// of another user whose add was recorded. The script doesn't ask whose shard it is.
func (a *Adds) As(user, like, book string, at time.Time) (Call, error) {
	c, err := a.Add(like, book, "1", "")
	if err != nil {
		return c, err
	}
	c.Args[0], c.Args[argNow], c.Args[argLimit] = user, strconv.FormatInt(at.UnixMilli(), 10), "1000000000"
	c.Keys[keyCart] = strings.TrimSuffix(c.Keys[keyCart], like) + user
	return c, nil
}

// parse takes the words of a command off a line of MONITOR; none where a script ran it.
//
//	1795366800.123456 [0 127.0.0.1:40000] "EVALSHA" "…" "1" "key"
func parse(line string) ([]string, error) {
	at := strings.IndexByte(line, '"')
	if at < 0 || strings.Contains(line[:at], " lua]") {
		return nil, nil
	}
	var words []string
	for rest := line[at:]; rest != ""; rest = strings.TrimLeft(rest, " ") {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return nil, fmt.Errorf("MONITOR said %.200q: %w", line, err)
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf("MONITOR said %.200q: %w", line, err)
		}
		words, rest = append(words, word), rest[len(quoted):]
	}
	return words, nil
}
