package booksync

import "sync"

// debts are what this process owes to each shard: a comparison of the books that the shard knows with the catalogue.
// They are in memory alone, so a process begins with owing it to all: what one before it owed is among that.
type debts struct {
	mu     sync.Mutex
	shards []debt
}

type debt struct {
	// silent says that the shard didn't take what it was told last.
	silent bool
	// owed grows each time that the shard was left out, paid follows it: what happened meanwhile is still owed.
	owed, paid uint64
	// asked is the comparison that recovery asked for, "" for none.
	asked string
}

// due is a comparison to be made now: what it settles.
type due struct {
	shard int
	owed  uint64
	asked string
}

func newDebts(shards int) *debts {
	d := &debts{shards: make([]debt, shards)}
	for i := range d.shards {
		d.shards[i].owed = 1
	}
	return d
}

// skip reports whether the shard is to be left out because it was silent, and owes it to the shard then.
func (d *debts) skip(shard int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &d.shards[shard]
	if s.silent {
		s.owed++
	}
	return s.silent
}

// missed notes that the shard didn't take what it was told.
func (d *debts) missed(shard int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shards[shard].silent = true
	d.shards[shard].owed++
}

// silence notes that the shard doesn't answer.
func (d *debts) silence(shard int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shards[shard].silent = true
}

// answered notes that the shard can be told things again, and what it asked for. It reports whether anything is due.
func (d *debts) answered(shard int, asked string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &d.shards[shard]
	s.silent = false
	if asked != "" {
		s.asked = asked
	}
	return s.owed > s.paid || s.asked != ""
}

// due returns what can be settled now.
func (d *debts) due() (all []due) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, s := range d.shards {
		if !s.silent && (s.owed > s.paid || s.asked != "") {
			all = append(all, due{i, s.owed, s.asked})
		}
	}
	return all
}

// settle notes that the comparison was made.
func (d *debts) settle(one due) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &d.shards[one.shard]
	s.paid = max(s.paid, one.owed)
	if s.asked == one.asked {
		s.asked = ""
	}
}

// owing is the number of shards that are owed something.
func (d *debts) owing() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.shards {
		if s.owed > s.paid || s.asked != "" {
			n++
		}
	}
	return n
}
