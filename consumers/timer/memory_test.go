package timer_test

import (
	"context"
	"sync"
	"time"

	"cartstream/consumers/timer"
)

// memory is Leases in this process, on its clock, which under testing/synctest moves by itself. Its instances see it through links of their own.
type memory struct {
	mu   sync.Mutex
	jobs map[string]*entry
}

type entry struct {
	timer.State
	token, settled string
	until          time.Time
}

func newMemory() *memory { return &memory{jobs: map[string]*entry{}} }

// of returns the job's entry. The caller holds mu.
func (m *memory) of(job string) *entry {
	if m.jobs[job] == nil {
		m.jobs[job] = &entry{}
	}
	e := m.jobs[job]
	if !e.until.After(time.Now()) {
		e.token = ""
	}
	return e
}

func (m *memory) State(_ context.Context, job string) (timer.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(job)
	s := e.State
	s.Running, s.Now = e.token != "" && e.token != "rests", time.Now()
	return s, nil
}

func (m *memory) Take(_ context.Context, job string, c timer.Claim, ttl time.Duration) (int64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(job)
	if e.token != "" || !c.Slot.After(e.Slot) && e.Answered >= e.Asked {
		return 0, false, nil
	}
	e.token, e.until, e.Instance, e.Started = c.Token, time.Now().Add(ttl), c.Instance, c.Now
	return e.Asked, true, nil
}

func (m *memory) Renew(_ context.Context, job, token string, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(job)
	if e.token != token {
		return timer.ErrLost
	}
	e.until = time.Now().Add(ttl)
	return nil
}

func (m *memory) Settle(_ context.Context, job, token string, o timer.Outcome) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(job)
	switch {
	case e.token != token && e.settled == token:
		return nil
	case e.token != token:
		return timer.ErrLost
	}
	e.token, e.settled = "", token
	switch o.Kind {
	case timer.Failed:
		e.Failed, e.Failure = o.At, o.Failure
		e.token, e.until = "rests", time.Now().Add(o.Rest)
	case timer.Done:
		e.Finished, e.Took, e.Items, e.Answered = o.At, o.Took, o.Items, max(e.Answered, o.Asked)
		if o.Slot.After(e.Slot) {
			e.Slot = o.Slot
		}
	}
	return nil
}

func (m *memory) Ask(_ context.Context, job string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(job)
	e.Asked++
	if e.token == "rests" {
		e.token = ""
	}
	return nil
}
