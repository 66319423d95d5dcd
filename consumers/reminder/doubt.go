package reminder

import (
	"sync"
	"time"
)

const (
	// doubtAfter is how many mails in a row a relay may refuse for now before that is its own trouble, not theirs.
	doubtAfter = 10
	// doubtEvery is how often one more is taken for the mail's own trouble then, so that nobody's mail holds up others for ever.
	doubtEvery = 10 * time.Minute
)

// doubt tells whose trouble it is when a relay refuses a mail for now: the mail's own, unless the relay refuses everybody.
// The reply's codes don't tell: 451 is a greylist, a full disk, or too many mails an hour. The zero value is ready for use.
type doubt struct {
	mu     sync.Mutex
	inARow int // since a mail was taken
	last   time.Time
}

// mails reports whether a refusal now would be the mail's own.
func (d *doubt) mails(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inARow < doubtAfter || now.Sub(d.last) >= doubtEvery
}

// everybodys reports whether a refusal now would be of one mail among all.
func (d *doubt) everybodys() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inARow >= doubtAfter
}

// refused counts a refusal that was the mail's own.
func (d *doubt) refused(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inARow++
	d.last = now
}

// took says that the relay takes mails.
func (d *doubt) took() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inARow = 0
}
