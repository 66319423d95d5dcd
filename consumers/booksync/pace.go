package booksync

import "time"

// pace leaves a Redis server to others for three fifths of the time at least: to be faster than that would only cost those
// who wait meanwhile. How long a step held it only the server knows, so that is taken to be what a unit of work took when
// least was in the way, lately.
type pace struct{ each time.Duration }

// rest is how long to wait after a step that did so many units of work and took that long, waits of its own included: half
// as long again at most, and not at all where so much of it was waiting that others had their share.
func (p *pace) rest(work int, took time.Duration) time.Duration {
	if work == 0 {
		return 0
	}
	each := took / time.Duration(work)
	if p.each == 0 || each < p.each {
		p.each = each
	} else {
		p.each = min(each, p.each+p.each/64+1) // the server may have become slower
	}
	return max(0, 5*p.each*time.Duration(work)/2-took)
}
