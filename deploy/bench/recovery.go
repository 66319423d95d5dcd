package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"cartstream/schemas"
)

const recoveryAbout = `
recovery: Redis is killed and comes back with less than it had; time begins when it answers again. %d carts.
  tail       it comes back with the files of before %d changes, which Kafka has: carts that they touched at random
  read tail  this process reads and decodes these changes from Kafka, and nothing else
  loss       it comes back with nothing; MongoDB has all carts
  read all   this process reads these documents, whole, by one cursor, and nothing else; it doesn't even decode them
  decode all the same, and the driver decodes each
  touched    until an add to a cart is answered with 200, tried all the time by another user each time
  whole      until no shard is recovering any more and each has all its carts
  CPU is that of api and of Redis, since Redis answered, a change or cart; MongoDB and Kafka have theirs beside it

`

// recoveryRuns measures how long carts are away when Redis lost some or all of them.
func recoveryRuns(ctx context.Context, b *bench) (err error) {
	s, err := b.start(ctx, "persist")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r, err := b.prepareRecovery(ctx, s)
	if err != nil {
		return err
	}
	defer r.events.close()
	tail, readTail := series{name: "tail"}, series{name: "read tail"}
	loss, readAll, decodeAll := series{name: "loss"}, series{name: "read all"}, series{name: "decode all"}
	for round := range b.rounds {
		for _, step := range []func() error{
			func() error { return r.tailTurn(ctx, &tail, &readTail) },
			func() error { return r.lossTurn(ctx, &loss, &readAll, &decodeAll) },
		} {
			if err := step(); err != nil {
				return err
			}
		}
		b.say("recovery: round %d of %d: tail %.0f/%.0f, loss %.0f/%.0f a second, touched after %.2f and %.2f s", round+1, b.rounds, tail.cells[0][round],
			readTail.cells[0][round], loss.cells[0][round], readAll.cells[0][round], tail.cells[2][round], loss.cells[2][round])
	}
	if _, err := fmt.Fprintf(b.out, recoveryAbout, len(r.users), len(r.users)); err != nil {
		return err
	}
	t := table{columns: []column{{"changes or carts/s", 0}, {"whole s", 2}, {"touched s", 2}, {"api CPU µs", 1}, {"Redis CPU µs", 1}}}
	t.compare(tail, readTail)
	t.compare(loss, readAll)
	t.compare(loss, decodeAll)
	return t.print(b.out)
}

// recovering is carts, what Kafka has of them, and who changes them.
type recovering struct {
	*stack
	events *log
	carts  *mongo.Collection
	users  []caller
}

func (b *bench) prepareRecovery(ctx context.Context, s *stack) (*recovering, error) {
	db, err := s.database()
	if err != nil {
		return nil, err
	}
	r := &recovering{stack: s, carts: db.Collection("carts")}
	if r.users, err = b.fillCarts(ctx, s, r.carts, b.sized(100_000)); err != nil {
		return nil, err
	}
	r.events, err = s.openLog(ctx, schemas.CartEvents)
	return r, err
}

// settled waits until Kafka has every change and MongoDB every one of Kafka's.
func (r *recovering) settled(ctx context.Context) error {
	if err := r.relayed(ctx); err != nil {
		return err
	}
	return until(ctx, "store all changes", 50*time.Millisecond, func() (bool, error) {
		end, err := r.events.admin.ListEndOffsets(ctx, r.events.topic)
		if err != nil {
			return false, err
		}
		held, err := r.events.admin.FetchOffsets(ctx, "persist")
		if err != nil {
			return false, err
		}
		for _, o := range end[r.events.topic] {
			if at, ok := held.Lookup(o.Topic, o.Partition); o.Offset > 0 && (!ok || at.At < o.Offset) {
				return false, nil
			}
		}
		return true, nil
	})
}

// tailTurn lets Redis forget as many changes as there are carts.
func (r *recovering) tailTurn(ctx context.Context, into, alone *series) error {
	if err := errors.Join(r.settled(ctx), sleep(ctx, 2*time.Second)); err != nil { // it has written its file and noted where it stands
		return err
	}
	kept, err := os.MkdirTemp(r.dir, "kept")
	if err != nil {
		return err
	}
	defer os.RemoveAll(kept) //nolint:errcheck // goes with the rest
	if err := os.CopyFS(kept, os.DirFS(filepath.Join(r.dir, "redis"))); err != nil {
		return err
	}
	from, err := r.events.ends(ctx)
	if err != nil {
		return err
	}
	changes := len(r.users)
	if err := r.change(ctx, changes); err != nil {
		return err
	}
	if err := r.settled(ctx); err != nil {
		return err
	}
	if err := r.comeBack(ctx, kept, changes, into); err != nil {
		return err
	}
	began, decoded := time.Now(), 0
	err = r.read(ctx, schemas.CartEvents, from, changes, func(rec *kgo.Record) {
		if _, err := schemas.DecodeCartChanged(rec.Value); err == nil {
			decoded++
		}
	})
	if err == nil && decoded < changes {
		err = fmt.Errorf("%d of %d changes can be read", decoded, changes)
	}
	took := time.Since(began).Seconds()
	alone.add(float64(changes)/took, took, 0, 0, 0)
	return err
}

// lossTurn lets Redis forget everything.
func (r *recovering) lossTurn(ctx context.Context, into, read, decode *series) error {
	if err := r.settled(ctx); err != nil {
		return err
	}
	if err := r.comeBack(ctx, "", len(r.users), into); err != nil {
		return err
	}
	for alone, readThem := range map[*series]func(context.Context, *mongo.Collection) (int, error){read: readAll, decode: decodeAll} {
		began := time.Now()
		n, err := readThem(ctx, r.carts)
		if err != nil {
			return err
		}
		took := time.Since(began).Seconds()
		alone.add(float64(n)/took, took, 0, 0, 0)
	}
	return nil
}

// decodeAll is readAll with what has to be done before anything can be made of a document.
func decodeAll(ctx context.Context, carts *mongo.Collection) (n int, err error) {
	cursor, err := carts.Find(ctx, bson.D{}, mongooptions.Find().SetBatchSize(1000))
	if err != nil {
		return 0, err
	}
	defer cursor.Close(ctx) //nolint:errcheck // read to its end or given up
	for cursor.Next(ctx) {
		if err := cursor.Decode(&schemas.Cart{}); err != nil {
			return n, err
		}
		n++
	}
	return n, cursor.Err()
}

// change adds n times, each time to another cart.
func (r *recovering) change(ctx context.Context, n int) error {
	order := rand.Perm(len(r.users))
	users := make([]caller, n)
	for i := range users {
		users[i] = r.users[order[i%len(order)]]
	}
	return (&fanout{stack: r.stack}).fill(ctx, users)
}

// comeBack restarts Redis with these files and measures until the carts are back.
func (r *recovering) comeBack(ctx context.Context, files string, n int, into *series) error {
	if err := r.restart(ctx, files); err != nil {
		return err
	}
	began := time.Now()
	pids := []int{r.api.cmd.Process.Pid, r.redis.Pid()}
	before, err := cpus(pids)
	if err != nil {
		return err
	}
	var touched time.Duration
	var g errgroup.Group
	g.Go(func() error {
		err := until(ctx, "serve a cart", 5*time.Millisecond, func() (bool, error) {
			c, err := dial(ctx, r.api.addr)
			if err != nil {
				return false, err
			}
			defer c.conn.Close()                                             //nolint:errcheck // nothing is left to say on it
			_, err = c.add(r.users[rand.IntN(len(r.users))], bestseller, "") //nolint:gosec // nothing secret about a load
			if err != nil && !errors.Is(err, errAnswer) {
				return false, err
			}
			return err == nil, nil
		})
		touched = time.Since(began)
		return err
	})
	err = until(ctx, "recover", 10*time.Millisecond, func() (bool, error) {
		if page, err := get(ctx, "http://"+r.api.addr+"/readyz"); err != nil || !bytes.Contains(page, []byte(`"recovering":0`)) {
			return false, nil //nolint:nilerr // 503 while no shard can be served
		}
		var found struct{ Shards []struct{ State string } }
		if err := r.ask(ctx, http.MethodGet, "/admin/recovery", "", &found); err != nil {
			return false, nil //nolint:nilerr // as long as Redis isn't asked again
		}
		for _, s := range found.Shards {
			if s.State != "ready" {
				return false, nil
			}
		}
		return len(found.Shards) > 0, nil
	})
	whole := time.Since(began)
	if err := errors.Join(err, g.Wait()); err != nil {
		return err
	}
	after, err := cpus(pids)
	if err != nil {
		return err
	}
	each := func(i int) float64 { return float64((after[i] - before[i]).Microseconds()) / float64(n) }
	into.add(float64(n)/whole.Seconds(), whole.Seconds(), touched.Seconds(), each(0), each(1))
	return nil
}
