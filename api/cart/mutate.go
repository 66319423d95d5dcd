package cart

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cartstream/schemas"
)

// resendFor bounds how long a keyed mutation whose answer was lost is sent again.
const resendFor = time.Second

// mutation is one call of a script that changes a cart.
type mutation struct {
	script   script
	name     string // in the hash of the request: what the same Idempotency-Key must come with again
	book     string
	quantity int64
}

// Add raises the quantity of the book's line, or begins one. quantity is at least 1.
//
// Errors: ErrBookUnavailable, ErrQuantityLimit, ErrLineLimit, the Catalogue's for a book that doesn't exist, and those
// of every mutation: ErrKeyReused, *VersionMismatch, *Unavailable. Whatever is refused left no trace.
func (s *Store) Add(ctx context.Context, r Request, book string, quantity int64) (Result, error) {
	return s.mutate(ctx, r, mutation{scriptAdd, "add", book, quantity})
}

// Set makes the quantity of the book's line what is asked, beginning the line where there is none and removing it at 0.
// Its errors are those of Add.
func (s *Store) Set(ctx context.Context, r Request, book string, quantity int64) (Result, error) {
	return s.mutate(ctx, r, mutation{scriptSet, "set", book, quantity})
}

// Remove drops the book's line. Errors: ErrLineNotFound and those of every mutation.
func (s *Store) Remove(ctx context.Context, r Request, book string) (Result, error) {
	return s.mutate(ctx, r, mutation{scriptRemove, "remove", book, 0})
}

// Acknowledge says that the user has seen the line's price. Errors: ErrLineNotFound and those of every mutation.
func (s *Store) Acknowledge(ctx context.Context, r Request, book string) (Result, error) {
	return s.mutate(ctx, r, mutation{scriptAcknowledge, "acknowledge", book, 0})
}

// Clear drops every line. Errors: those of every mutation.
func (s *Store) Clear(ctx context.Context, r Request) (Result, error) {
	return s.mutate(ctx, r, mutation{script: scriptClear, name: "clear"})
}

// refusals are the words by which a script refuses.
var refusals = map[string]error{
	"line-not-found":   ErrLineNotFound,
	"book-unavailable": ErrBookUnavailable,
	"quantity-limit":   ErrQuantityLimit,
	"line-limit":       ErrLineLimit,
	"reused":           ErrKeyReused,
}

func (s *Store) mutate(ctx context.Context, r Request, m mutation) (Result, error) {
	lost := false
	result, err := s.decide(ctx, r, m, &lost)
	if err != nil && lost {
		// The call whose answer was lost may still be on its way and find the cart otherwise, so no refusal is final.
		err = unavailable(MaybeApplied, errors.New("after a lost answer: "+err.Error()))
	}
	if err != nil {
		return Result{}, fmt.Errorf("%s %s, cart of %s: %w", m.name, m.book, r.User, err)
	}
	return result, nil
}

// decide calls the script until it has decided: with the book's facts where it asks for them, after a restore where the
// shard lost the cart, anew where the shard's generation is another. It sets lost where an answer was.
func (s *Store) decide(ctx context.Context, r Request, m mutation, lost *bool) (Result, error) {
	shard := s.nodes.shardOf(r.User)
	under, facts, err := s.offer(ctx, shard, m.book)
	for restored := false; ; {
		if err != nil {
			return Result{}, unavailable(NotApplied, err)
		}
		answer, failed := s.send(ctx, r, m, under, facts, lost)
		if errors.Is(failed, errRaised) {
			under, facts, err = s.offer(ctx, shard, m.book)
			continue
		}
		if failed != nil {
			return Result{}, failed
		}
		word, rest := split(answer)
		switch {
		case word == "ok" || word == "replay":
			return s.answered(ctx, r.User, under.Number, word, rest)
		case word == "facts" && facts == "" && s.Catalogue != nil:
			if facts, failed = s.lookup(ctx, m.book); failed != nil {
				return Result{}, failed
			}
		case word == "restore" && !restored:
			if err := s.restore(ctx, r.User, under.Generation); err != nil {
				return Result{}, err
			}
			restored = true
		case word == "mismatch":
			version, err := strconv.ParseInt(rest, 10, 64)
			if err != nil {
				return Result{}, fmt.Errorf("script answered %q: %w", rest, err)
			}
			return Result{}, &VersionMismatch{Epoch: under.Number, Version: version}
		case refusals[word] != nil:
			return Result{}, refusals[word]
		default:
			return Result{}, unavailable(NotApplied, fmt.Errorf("script answered %q", word))
		}
	}
}

func (s *Store) lookup(ctx context.Context, book string) (string, error) {
	b, err := s.Catalogue.Lookup(ctx, book)
	if errors.Is(err, schemas.ErrUnavailable) {
		return "", unavailable(NotApplied, err)
	}
	if err != nil {
		return "", err
	}
	return facts(b), nil
}

// send calls the script once, and again where an answer was lost and the request has a key, so that a call that was
// applied is answered with its kept answer. It sets lost where an answer was. The error is an *Unavailable, or errRaised.
func (s *Store) send(ctx context.Context, r Request, m mutation, under *loaded, facts string, lost *bool) (any, error) {
	shard := s.nodes.shardOf(r.User)
	keys, argv := s.arguments(shard, r, m, facts)
	for until := time.Now().Add(resendFor); ; {
		_, answer, err := s.runUnder(ctx, under, shard, m.script, keys, argv...)
		if err == nil {
			return answer, nil
		}
		if errors.Is(err, errRaised) {
			return nil, errRaised
		}
		*lost = *lost || applied(err) == MaybeApplied
		if !*lost {
			return nil, unavailable(NotApplied, err)
		}
		if r.Key == "" || time.Now().After(until) || ctx.Err() != nil {
			return nil, unavailable(MaybeApplied, err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// arguments are KEYS and ARGV as lua/mutation.lua and the script describe them.
func (s *Store) arguments(shard int, r Request, m mutation, facts string) (keys []string, argv []any) {
	keys = []string{s.nodes.generation(shard), s.nodes.cart(shard, r.User), s.nodes.outbox(shard)}
	if m.book != "" {
		keys = append(keys, s.nodes.facts(shard, m.book), s.nodes.users(shard, m.book))
	}
	trace := r.TraceParent
	if trace == "" {
		trace = schemas.NewTraceParent()
	}
	key, request, meta := "", "", trace+" - -"
	if r.Key != "" {
		key, request = hash(r.User, r.Key), hash(m.name, m.book, strconv.FormatInt(m.quantity, 10))
		meta = trace + " " + key + " " + request
		keys = append(keys, s.nodes.kept(shard, key))
	}
	argv = []any{r.User, meta, time.Now().UnixMilli(), r.IfMatch.compact(), request, s.KeepAnswers.Milliseconds(), r.Email, s.idleWindow()}
	switch m.script {
	case scriptClear:
	case scriptAdd, scriptSet:
		argv = append(argv, m.book, m.quantity, s.Limits.Quantity, s.Limits.Lines, facts)
	default:
		argv = append(argv, m.book)
	}
	return keys, argv
}

// compact is the condition as lua/mutation.lua takes it.
func (m IfMatch) compact() string {
	switch {
	case !m.Set:
		return ""
	case m.Any:
		return "*"
	}
	var b strings.Builder
	b.WriteByte(',')
	for _, t := range m.Tags {
		if t.Version == 0 {
			b.WriteString("0,")
		} else {
			fmt.Fprintf(&b, "%d.%d,", t.Epoch, t.Version)
		}
	}
	return b.String()
}

// answered turns "<outbox id> <change>" into a Result, once Kafka has it where that is wanted.
func (s *Store) answered(ctx context.Context, user string, generation int64, word, rest string) (Result, error) {
	id, change, _ := strings.Cut(rest, " ")
	r := &reader{rest: change}
	c := r.change(user, s.Currency)
	if r.err != nil {
		return Result{}, fmt.Errorf("script's answer: %w", r.err)
	}
	if s.AckKafka {
		if err := s.waitRelayed(ctx, s.nodes.shardOf(user), generation, id); err != nil {
			return Result{}, unavailable(MaybeApplied, err)
		}
	}
	return Result{Change: c, Replayed: word == "replay"}, nil
}
