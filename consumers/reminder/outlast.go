package reminder

import (
	"context"
	"time"
)

// A call that ends with a mail under way ends for good within answerMost + keepMost, so that a partition that goes elsewhere,
// or a process that stops, takes with it what became of the mail: a runner leaves behind who takes 3 s.
const (
	// answerMost is how long the relay has then to answer a mail that it is about to have, or has.
	answerMost = 1500 * time.Millisecond
	// keepMost is how long MongoDB has then to keep what came of it.
	keepMost = time.Second
)

// outlasting returns a context that ends d after ctx does, d from now where that has ended already.
func outlasting(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return late, func() { stop(); cancel() }
}
