package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"cartstream/deploy/launch/scratch"
)

// scenario is a story of faults.
type scenario struct {
	name, about string
	env         []string // of every process
	cluster     bool     // Redis Cluster of three masters
	quiet       bool     // the books stay as they are
	forgets     bool     // Redis loses everything, the answers of keyed calls too
	mayLose     bool     // ACK=redis, and Redis loses data: acknowledged changes may be lost, and are counted
	strike      func(context.Context, *strikes) error
}

// harness runs scenarios, one after the other.
type harness struct {
	out, progress io.Writer
	keep          bool
	scratch       *scratch.Dir
	tables        tables
}

func (h *harness) say(format string, args ...any) {
	_, _ = fmt.Fprintf(h.progress, "faults: "+format+"\n", args...)
}

func (h *harness) close() error {
	if h.keep {
		h.say("everything stays in %s", h.scratch.Path)
		return nil
	}
	return h.scratch.Close()
}

// strikes is what a scenario's faults get to work with, and what they did.
type strikes struct {
	*harness
	*load
	random   *rand.Rand
	until    time.Duration // a soak's length
	times    int           // for each fault that the scenario names
	patient  bool          // each strike comes only once the one before is healed
	count    int
	struck   map[string]int // how often each kind did
	healed   map[string][]time.Duration
	unhealed faults
	losses   []loss
	poison   map[string]bool // values planted in cart.events.v1
}

// loss is one time that Redis came back with less than it had.
type loss struct {
	kind    string
	at      time.Duration // since the run began
	began   time.Time
	entries int64         // changes that Redis lost
	ready   time.Duration // until every shard was served again
	// ends is how far each partition of cart.events.v1 reached while nobody could reach Redis: recovery knows all of that.
	// nil where Redis could be reached all the time.
	ends map[int32]int64
	// carts are the version numbers that users had once every shard was served again.
	carts map[string]int64
}

// run runs one scenario on a stack of its own and prints its figures. errViolated is in the chain where the contract was
// broken.
func (h *harness) run(ctx context.Context, sc scenario, o settings) (err error) {
	began := time.Now()
	s, err := start(ctx, h.scratch, sc.cluster, sc.env)
	if err != nil {
		return err
	}
	defer func() {
		if errors.Is(err, errViolated) {
			h.logs(s)
		}
		err = errors.Join(err, s.close())
	}()
	ready := time.Since(began)
	l, err := begin(ctx, s, o.seed, sc)
	if err != nil {
		return err
	}
	defer l.end()
	st := &strikes{harness: h, load: l, until: o.soak, times: max(1, o.times), patient: o.heal, poison: map[string]bool{},
		struck: map[string]int{}, healed: map[string][]time.Duration{},
		random: rand.New(rand.NewPCG(o.seed, 1<<32))} //nolint:gosec // has to be repeatable
	if err := sc.strike(ctx, st); err != nil {
		return fmt.Errorf("after %d faults: %w", st.count, err)
	}
	l.end()
	lasted, unsure := l.since(), l.unknown()
	e, err := l.settle(ctx, st.poison)
	if err != nil {
		return err
	}
	v := l.judge(sc, st, e)
	h.tables.runs = append(h.tables.runs, v.figures(sc, st, e, lasted))
	_, err = fmt.Fprintf(h.out, "%s: %d faults in %.0f s (engines up after %.0f s), %d changes acknowledged, %d calls of unknown outcome, %s, settled after %.1f s, %d diverged\n",
		sc.name, st.count, lasted.Seconds(), ready.Seconds(), v.acknowledged, unsure, v.losses(st), e.after.Seconds(), e.diverged)
	return errors.Join(err, v.faults.err())
}

// judge looks at everything that is known in the end.
func (l *load) judge(sc scenario, st *strikes, e *ending) *verdict {
	v := l.verify(e)
	found := v.faults
	v.faults = faults{}
	if !sc.mayLose {
		for _, o := range v.lost {
			v.faults.add("acknowledged and lost: %v; Kafka has %v", o, e.stories[o.user].near(o.at))
		}
	}
	v.faults.join(st.unhealed)
	v.faults.join(e.faults)
	v.faults.join(found)
	at := make([]time.Duration, len(st.losses))
	for i, loss := range st.losses {
		at[i] = loss.at
	}
	for user, s := range e.stories {
		s.neglected(user, st.losses, &v.faults)
	}
	l.linearizable(e, v.lost, at, &v.faults)
	return v
}

func (l *load) unknown() (n int) {
	for i := range l.ops {
		for _, o := range l.ops[i].ops {
			if o.mutates() && o.result == unknown {
				n++
			}
		}
	}
	return n
}

// losses is a line's worth of what was lost.
func (v *verdict) losses(st *strikes) string {
	if len(st.losses) == 0 {
		return fmt.Sprintf("%d lost", len(v.lost))
	}
	var entries int64
	var slowest time.Duration
	lost := "0 acknowledged ones lost"
	for _, l := range st.losses {
		entries += l.entries
		slowest = max(slowest, l.ready)
	}
	if len(v.lost) > 0 {
		ages := slices.Sorted(slices.Values(v.ages(st.losses)))
		lost = fmt.Sprintf("%d acknowledged ones lost that were %d · %d · %d ms old (least · median · most)",
			len(ages), ages[0].Milliseconds(), ages[len(ages)/2].Milliseconds(), ages[len(ages)-1].Milliseconds())
	}
	return fmt.Sprintf("Redis lost %d changes in %d losses and was served again within %.1f s, %s, %d others came to Kafka too late",
		entries, len(st.losses), slowest.Seconds(), lost, v.superseded)
}

// figures are what the tables show of a run.
func (v *verdict) figures(sc scenario, st *strikes, e *ending, lasted time.Duration) figures {
	acks := "Redis"
	if slices.Contains(sc.env, "ACK=kafka") {
		acks = "Kafka"
	}
	return figures{name: sc.name, acks: acks, lasted: lasted, acknowledged: v.acknowledged, struck: st.struck, healed: st.healed,
		losses: st.losses, lost: len(v.lost), ages: v.ages(st.losses), diverged: e.diverged}
}

// ages are those of what was lost, when it was.
func (v *verdict) ages(losses []loss) (all []time.Duration) {
	for _, o := range v.lost {
		all = append(all, age(o, losses))
	}
	return all
}

// age is how long before the loss that took it a change was acknowledged; 0 for an answer that was on its way then.
func age(o op, losses []loss) time.Duration {
	for _, l := range losses {
		if l.at >= o.from {
			return max(0, l.at-o.to)
		}
	}
	return 0
}

// logs shows the end of each process's log.
func (h *harness) logs(s *stack) {
	for _, p := range s.processes() {
		h.say("--- the end of %s's log\n%s", p.name, tail(p.logged(), 2500))
	}
}
