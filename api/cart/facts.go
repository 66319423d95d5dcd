package cart

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cartstream/schemas"
)

// A shard holds the facts of its books, so that an add reads the price inside its own script. Facts that are newer than the
// shard's are written by whoever has them first; the same script queues a walk over the carts that hold the book, if they
// would look different. Walks go on in bounded steps; where one stands is in the shard too, so it is lost or kept together
// with what it has done.

const (
	// refreshField stands in the queue of walks for a comparison of all facts with the catalogue. No book is named so.
	refreshField = "*"
	// walkerFor is how long a silent instance keeps a shard's walks from others.
	walkerFor = 5 * time.Second
	// longOutbox is how many entries may wait in an outbox for a step to add its own.
	longOutbox = 5000
	// stepWrites is after how many bytes of lines a step ends. 100 lines have fewer, unless their titles are long.
	stepWrites = 64 << 10
)

// Shards returns how many shards there are.
func (s *Store) Shards() int { return s.nodes.shards() }

// Learn tells a shard about books. Facts that are newer than the shard's are written, and where they change what a holder
// of the book sees (title, price, availability), the walk over its holders is queued. Others change nothing. It returns how
// many walks it queued. 100 books take Redis less than a millisecond. The error is an *Unavailable.
func (s *Store) Learn(ctx context.Context, shard int, books []schemas.Book) (queued int, err error) {
	keys, argv := []string{s.nodes.generation(shard)}, make([]any, 0, 2*len(books))
	for _, b := range books {
		keys = append(keys, s.nodes.facts(shard, b.BookID), s.nodes.users(shard, b.BookID))
		argv = append(argv, b.BookID, facts(b))
	}
	_, answer, err := s.run(ctx, shard, scriptLearn, keys, argv...)
	word, rest := split(answer)
	if err == nil && word == "ok" {
		queued, err = strconv.Atoi(rest)
	} else if err == nil {
		err = fmt.Errorf("script answered %v", answer)
	}
	if err != nil {
		return 0, unavailable("", fmt.Errorf("tell shard %d about books: %w", shard, err))
	}
	return queued, nil
}

// Walks is what waits for a walker in one shard.
type Walks struct {
	// Books whose holders are to be brought to the shard's facts, in no order.
	Books []string
	// Refresh, unless "", asks to compare every book that the shard knows with the catalogue; Refreshed takes it back. There
	// are no Books before that: after a loss the shard's facts may be older than its carts.
	Refresh string
}

// Walks returns what waits in the shard, limit books at most; nothing while the shard has not got its carts back. The error
// is an *Unavailable.
func (s *Store) Walks(ctx context.Context, shard, limit int) (Walks, error) {
	keys := []string{s.nodes.generation(shard), s.nodes.walks(shard)}
	fields, err := s.list(ctx, shard, scriptWalks, keys, limit)
	if err != nil {
		return Walks{}, fmt.Errorf("read the walks of shard %d: %w", shard, err)
	}
	return Walks{Refresh: fields[0], Books: fields[1:]}, nil
}

// list calls a script that answers with at least one string.
func (s *Store) list(ctx context.Context, shard int, which script, keys []string, argv ...any) ([]string, error) {
	_, answer, err := s.run(ctx, shard, which, keys, argv...)
	fields, _ := answer.([]any)
	if err == nil && len(fields) == 0 {
		err = fmt.Errorf("script answered %v", answer)
	}
	if err != nil {
		return nil, unavailable("", err)
	}
	texts := make([]string, len(fields))
	for i, f := range fields {
		texts[i], _ = f.(string)
	}
	return texts, nil
}

// StepState says how a walk stands after a step.
type StepState string

const (
	// WalkOn says: holders are left.
	WalkOn StepState = "on"
	// WalkDone says: every holder has the facts, and nothing waits any more.
	WalkDone StepState = "done"
	// WalkBusy says: another instance goes through this shard.
	WalkBusy StepState = "busy"
	// WalkPaused says: the shard's outbox is too long to add to, or a refresh comes first.
	WalkPaused StepState = "paused"
	// WalkUnknown says: the shard has no facts of the book. Learn them, or DropWalk.
	WalkUnknown StepState = "unknown"
)

// Step is what one step of a walk did.
type Step struct {
	State StepState
	// Seen holders, and Changed carts among them.
	Seen, Changed int
}

// Step goes on with the walk over the book's holders in the shard, in one script: up to limit lines, those that a change
// carries because it is the cart's first under a generation included, and fewer where their titles are long. Redis is held
// for some 8 µs a line, or 1 ms where it is the titles that end the step, and beyond that only by its last cart, where that
// carries all its lines. The instance keeps other instances from this shard's walks for some seconds. The error is an *Unavailable; what such a step did is
// done, and the next goes on from there.
func (s *Store) Step(ctx context.Context, shard int, book, instance string, limit int) (Step, error) {
	keys := []string{s.nodes.generation(shard), s.nodes.walks(shard), s.nodes.outbox(shard),
		s.nodes.facts(shard, book), s.nodes.users(shard, book), s.nodes.walker(shard)}
	_, answer, err := s.run(ctx, shard, scriptStep, keys, book, limit, time.Now().UnixMilli(),
		schemas.NewTraceParent()+" - -", instance, walkerFor.Milliseconds(), longOutbox, stepWrites)
	if err != nil {
		return Step{}, unavailable("", fmt.Errorf("walk over the holders of %s in shard %d: %w", book, shard, err))
	}
	text, _ := answer.(string)
	words := strings.Fields(text)
	switch {
	case len(words) == 3:
		seen, err := strconv.Atoi(words[1])
		changed, wrong := strconv.Atoi(words[2])
		if err == nil && wrong == nil {
			return Step{StepState(words[0]), seen, changed}, nil
		}
	case len(words) == 1:
		return Step{State: StepState(words[0])}, nil
	}
	return Step{}, unavailable("", fmt.Errorf("walk over the holders of %s in shard %d: script answered %v", book, shard, answer))
}

// DropWalk ends the walk for a book that no catalogue knows, unless the shard has learned of it meanwhile. The error is an
// *Unavailable.
func (s *Store) DropWalk(ctx context.Context, shard int, book string) error {
	return s.unqueue(ctx, shard, book, "", s.nodes.facts(shard, book))
}

// Refreshed says that every book that the shard knows was compared with the catalogue since Walks returned refresh. The
// error is an *Unavailable.
func (s *Store) Refreshed(ctx context.Context, shard int, refresh string) error {
	return s.unqueue(ctx, shard, refreshField, refresh)
}

func (s *Store) unqueue(ctx context.Context, shard int, field, held string, unless ...string) error {
	keys := append([]string{s.nodes.generation(shard), s.nodes.walks(shard)}, unless...)
	_, answer, err := s.run(ctx, shard, scriptUnqueue, keys, field, held)
	if err == nil && answer != "ok" {
		err = fmt.Errorf("script answered %v", answer)
	}
	if err != nil {
		return unavailable("", fmt.Errorf("end the walk %s of shard %d: %w", field, shard, err))
	}
	return nil
}

// KnownBook is a book whose facts a shard holds.
type KnownBook struct {
	BookID string
	// Version of the facts; 0 where a cart holds the book and the shard has no facts.
	Version int64
}

// Known pages through the books that the shard knows, by id: it returns up to limit of those after the one named, and the
// one to name next, "" at the end. The error is an *Unavailable.
func (s *Store) Known(ctx context.Context, shard int, after string, limit int) (books []KnownBook, next string, err error) {
	keys := []string{s.nodes.generation(shard), s.nodes.known(shard)}
	fields, err := s.list(ctx, shard, scriptKnown, keys, after, limit)
	if err != nil {
		return nil, "", fmt.Errorf("read the books of shard %d: %w", shard, err)
	}
	for i := 1; i+1 < len(fields); i += 2 {
		version, err := strconv.ParseInt(fields[i+1], 10, 64)
		if err != nil {
			return nil, "", unavailable("", fmt.Errorf("facts of %s in shard %d: %w", fields[i], shard, err))
		}
		books = append(books, KnownBook{fields[i], version})
	}
	return books, fields[0], nil
}
