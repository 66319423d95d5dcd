package cart

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// patience is how long a caller waits for its answer: Redis away is known in under a second.
	patience = 900 * time.Millisecond
	// pipelineLength bounds how many calls go out together. More would only make the first wait for the last.
	pipelineLength = 128
	// pipelines that a node is sent at a time: while one waits for its answers, the other fills and goes out.
	pipelines = 2
)

var (
	// errNotSent: the call never left this process.
	errNotSent = errors.New("not sent")
	// errLate: the call was sent and may still run.
	errLate = errors.New("no answer in time")
)

// door is the way to one Redis node. A caller that finds a turn free sends its call itself. The others wait for a turn
// together, without a timer: a flusher takes all that is there, sends it as one pipeline and waits for the answers. Nothing
// is sent twice, and what was sent is waited for whether its caller left or not.
type door struct {
	client *redis.Client
	calls  chan *call
	turns  chan struct{} // holds one for each pipeline under way
	silent atomic.Bool   // the last pipeline got no answer: flushers send all, since a caller can leave those, but not what it sends itself
	closed chan struct{}
}

// call is one EVALSHA on its way.
type call struct {
	first redis.Cmder // goes before it on the same connection; nil for nothing
	cmd   *redis.Cmd
	until time.Time
	state atomic.Int32 // waiting, then sent or abandoned
	done  chan struct{}
}

const (
	waiting int32 = iota
	sent
	abandoned
)

func openDoor(client *redis.Client, closed chan struct{}) *door {
	d := &door{client: client, calls: make(chan *call, 1024), turns: make(chan struct{}, pipelines), closed: closed}
	d.silent.Store(true) // until it is known better: the first has to connect
	for range pipelines {
		go d.flush()
	}
	return d
}

// do runs one script and returns its answer. The error is errNotSent, an answer of the server, or says that an answer
// was lost.
func (d *door) do(ctx context.Context, args []any) (any, error) { return d.behind(ctx, nil, args) }

// behind is do for a script that goes right behind another command, on the same connection. Where the error isn't nil, nothing
// is known of that command, and it isn't to be looked at.
func (d *door) behind(ctx context.Context, first redis.Cmder, args []any) (any, error) {
	c := &call{first: first, cmd: redis.NewCmd(context.Background(), args...), until: time.Now().Add(patience)}
	if !d.silent.Load() {
		select {
		case d.turns <- struct{}{}:
			d.send([]*call{c})
			<-d.turns
			if c.state.Load() != sent { // the process stood still
				return nil, errNotSent
			}
			return c.cmd.Val(), c.cmd.Err()
		default:
		}
	}
	c.done = make(chan struct{})
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case d.calls <- c:
	case <-timer.C:
		return nil, errNotSent
	case <-d.closed:
		return nil, errNotSent
	}
	late := false
	select {
	case <-c.done:
		return c.cmd.Val(), c.cmd.Err()
	case <-timer.C:
		late = true
	case <-ctx.Done():
	case <-d.closed:
	}
	if c.state.CompareAndSwap(waiting, abandoned) {
		return nil, errNotSent
	}
	if !late { // who left early may still learn what became of what was sent
		select {
		case <-c.done:
			return c.cmd.Val(), c.cmd.Err()
		case <-timer.C:
		}
	}
	return nil, errLate
}

func (d *door) flush() {
	batch := make([]*call, 0, pipelineLength)
	for {
		batch = batch[:0]
		select {
		case c := <-d.calls:
			batch = append(batch, c)
		case <-d.closed:
			return
		}
		d.turns <- struct{}{}
		for more := true; more && len(batch) < pipelineLength; {
			select {
			case c := <-d.calls:
				batch = append(batch, c)
			default:
				more = false
			}
		}
		d.send(batch)
		<-d.turns
	}
}

func (d *door) send(batch []*call) {
	ctx := context.Background() // what is sent is waited for; the client's time-outs bound it
	pipe := d.client.Pipeline()
	now, live := time.Now(), batch[:0]
	for _, c := range batch {
		if now.Before(c.until) && c.state.CompareAndSwap(waiting, sent) {
			if c.first != nil {
				_ = pipe.Process(ctx, c.first) // see below
			}
			_ = pipe.Process(ctx, c.cmd) // queues it; the answer's error is the command's
			live = append(live, c)
		}
	}
	if len(live) == 0 {
		return
	}
	_, err := pipe.Exec(ctx) // each command has its own error, and this is the first
	var answer redis.Error
	d.silent.Store(err != nil && !errors.As(err, &answer))
	for _, c := range live {
		if c.done != nil {
			close(c.done)
		}
	}
}

// applied says what became of a mutation that ended in err: a server's answer and a call that never left say no.
func applied(err error) Applied {
	var answer redis.Error
	var dial *net.OpError
	switch {
	case errors.Is(err, errNotSent), errors.Is(err, errFenced):
		return NotApplied
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted), errors.Is(err, redis.ErrClosed):
		return NotApplied
	case errors.As(err, &dial) && dial.Op == "dial":
		return NotApplied
	case errors.As(err, &answer):
		return NotApplied
	default:
		return MaybeApplied
	}
}
