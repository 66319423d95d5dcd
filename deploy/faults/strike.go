package main

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// fault is one that the seed has chosen: it lasts from do to undo.
type fault struct {
	kind     string // what tables tell it by, whichever process or node it strikes
	what     string
	lasts    time.Duration
	do, undo func(context.Context) error
}

// strike lets n faults of these kinds, or as many times more as the command line says, strike, each kind in turn before any
// comes again, in an order that the seed decides, one after the other with a breath between them.
func (st *strikes) strike(ctx context.Context, n int, kinds ...func() fault) error {
	var order []int
	for range n * st.times {
		if st.until > 0 && st.since() > st.until {
			return nil
		}
		if len(order) == 0 {
			order = st.random.Perm(len(kinds))
		}
		f := kinds[order[0]]()
		order = order[1:]
		if err := pause(ctx, st.between(400*time.Millisecond, 1500*time.Millisecond)); err != nil {
			return err
		}
		if err := st.one(ctx, f); err != nil {
			return err
		}
		if err := st.heal(ctx, f); err != nil {
			return err
		}
	}
	return pause(ctx, second)
}

func (st *strikes) one(ctx context.Context, f fault) error {
	st.count++
	st.struck[f.kind]++
	st.say("%5.1f s: %s for %.1f s", st.since().Seconds(), f.what, f.lasts.Seconds())
	if err := f.do(ctx); err != nil {
		return fmt.Errorf("%s: %w", f.what, err)
	}
	if err := pause(ctx, f.lasts); err != nil {
		return err
	}
	if f.undo == nil {
		return nil
	}
	if err := f.undo(ctx); err != nil {
		return fmt.Errorf("after %s: %w", f.what, err)
	}
	return nil
}

func (st *strikes) between(least, most time.Duration) time.Duration {
	return least + time.Duration(st.random.Int64N(int64(most-least)))
}

// victim is a process that can die and come back.
type victim interface {
	Kill() error
	Start(ctx context.Context) error
	Pid() int
}

func kill(kind, name string, v victim, lasts time.Duration) fault {
	return fault{"kill -9 " + kind, "kill -9 " + name, lasts, func(context.Context) error { return v.Kill() }, v.Start}
}

func freeze(kind, name string, v victim, lasts time.Duration) fault {
	return fault{"freeze " + kind, "freeze " + name, lasts,
		func(context.Context) error { return syscall.Kill(v.Pid(), syscall.SIGSTOP) },
		func(context.Context) error { return syscall.Kill(v.Pid(), syscall.SIGCONT) }}
}

func (st *strikes) anyProduct() *process {
	all := st.stack.processes()
	return all[st.random.IntN(len(all))]
}

func (st *strikes) killProduct() fault {
	p := st.anyProduct()
	return kill(p.kind(), p.name, p, st.between(0, 2*second))
}

// freezeProduct stops a process for longer than its leases and sessions last, or for less.
func (st *strikes) freezeProduct() fault {
	p := st.anyProduct()
	return freeze(p.kind(), p.name, p, st.between(second, 12*second))
}

func (st *strikes) restartProduct() fault {
	p := st.anyProduct()
	return fault{"restart " + p.kind(), "restart " + p.name, 0, p.Stop, p.Start}
}

func (st *strikes) poisonEvents() fault {
	return fault{"poison among the events", "poison in cart.events.v1", 0, st.plant, nil}
}
