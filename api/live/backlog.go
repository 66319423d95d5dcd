package live

import "cartstream/api/cart"

// What one socket may have waiting for its client. Beyond that, all of it becomes one snapshot.
const (
	mostFrames = 64
	mostBytes  = 256 << 10
)

// frame is one message to a client. Sockets of a user share its text.
type frame struct {
	kind kind
	at   cart.Tag // the state that the client has after it
	// whole says that a change carries the whole cart.
	whole bool
	// text is nil where it is only known that the cart is at least at this state.
	text []byte
}

// kind of a frame, as metrics name it.
type kind string

const (
	snapshot kind = "snapshot"
	current  kind = "current"
	change   kind = "change"
)

// Where a gap was found, as metrics name it.
type gap string

const (
	none     gap = ""
	byChange gap = "change"
	byCheck  gap = "check"
	backlogs gap = "backlog"
)

// backlog is what a socket has yet to send, in order. It sees to it that what is sent strictly rises and skips no
// version but by a snapshot, and that it stays small. Its socket's watch guards it.
type backlog struct {
	sent   cart.Tag // the state after the last frame that was taken
	frames []frame
	bytes  int // of the changes among them
	// stale: something is missing after frames, so a snapshot has to be read and sent before any change.
	stale bool
	// loading: a snapshot is being read. It may or may not hold what comes meanwhile, so frames keeps that unchecked.
	loading bool
	// missed: frames could not keep all that came while loading.
	missed bool
}

// nothing is older than every state of a cart.
var nothing = cart.Tag{Epoch: -1}

func newer(a, b cart.Tag) bool {
	return a.Epoch > b.Epoch || a.Epoch == b.Epoch && a.Version > b.Version
}

// offer adds a frame where it is the next one, or notes that something is missing, and then says how that was found.
func (b *backlog) offer(f frame) gap {
	switch {
	case b.stale: // the snapshot will be read after this
		return none
	case b.loading:
		if !b.keep(f) {
			b.missed = true
		}
		return none
	}
	last := b.sent
	if n := len(b.frames); n > 0 {
		last = b.frames[n-1].at
	}
	if !newer(f.at, last) {
		return none
	}
	next := f.at.Epoch == last.Epoch && f.at.Version == last.Version+1 ||
		f.at.Epoch > last.Epoch && f.whole && f.at.Version <= last.Version+1
	switch {
	case f.text == nil:
		b.collapse()
		return byCheck
	case !next:
		b.collapse()
		return byChange
	case !b.keep(f):
		b.collapse()
		return backlogs
	}
	return none
}

// keep appends a frame unless there are too many. A single change may have any size, as a cart that was read may.
func (b *backlog) keep(f frame) bool {
	if f.kind != snapshot && f.kind != current {
		if len(b.frames) >= mostFrames || b.bytes > 0 && b.bytes+len(f.text) > mostBytes {
			return false
		}
		b.bytes += len(f.text)
	}
	b.frames = append(b.frames, f)
	return true
}

func (b *backlog) collapse() { b.frames, b.bytes, b.stale = nil, 0, true }

// load says that a snapshot is read from now on.
func (b *backlog) load() {
	b.frames, b.bytes, b.stale, b.loading, b.missed = nil, 0, false, true, false
}

// loaded puts the frame of the cart that was read before what came meanwhile. It is left out where the client has seen
// as much. If something is missing after it nevertheless, it is sent all the same: so each load brings the client on.
func (b *backlog) loaded(f frame) gap {
	came, missed := b.frames, b.missed
	b.frames, b.bytes, b.loading, b.missed = nil, 0, false, false
	if newer(f.at, b.sent) {
		b.keep(f)
	}
	read := b.frames
	if missed {
		b.stale = true
		return backlogs
	}
	for _, f := range came {
		if found := b.offer(f); found != none {
			b.frames = read
			return found
		}
	}
	return none
}

// take removes the next frame.
func (b *backlog) take() (frame, bool) {
	if len(b.frames) == 0 || b.loading {
		return frame{}, false
	}
	f := b.frames[0]
	b.frames[0] = frame{}
	if b.frames = b.frames[1:]; len(b.frames) == 0 {
		b.frames = nil
	}
	if f.kind == change {
		b.bytes -= len(f.text)
	}
	b.sent = f.at
	return f, true
}
