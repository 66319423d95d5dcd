package live

import (
	"encoding/json"
	"fmt"

	"cartstream/schemas"
)

// follower does what the contract asks of a client: it applies each frame to its cart, and finds fault with every frame
// that does not come next.
type follower struct {
	Cart   schemas.Cart
	Frames []string // types, in order
}

// newFollower has seen nothing yet.
func newFollower() *follower { return &follower{Cart: schemas.Cart{Epoch: -1}} }

// apply returns what is wrong with a frame.
func (f *follower) apply(text []byte) error {
	var m struct {
		Type           string
		Cart           *schemas.Cart
		Change         *schemas.CartChanged
		Epoch, Version int64
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	f.Frames = append(f.Frames, m.Type)
	was := fmt.Sprintf("client at %d.%d", f.Cart.Epoch, f.Cart.Version)
	switch {
	case m.Type == "snapshot" && m.Cart != nil && m.Cart.Items != nil:
		if !schemas.Newer(m.Cart.Epoch, m.Cart.Version, f.Cart.Epoch, f.Cart.Version) {
			return fmt.Errorf("%s, snapshot of %d.%d", was, m.Cart.Epoch, m.Cart.Version)
		}
		f.Cart = *m.Cart
	case m.Type == "current" && len(f.Frames) == 1:
		f.Cart.Epoch, f.Cart.Version = m.Epoch, m.Version
	case m.Type == "change" && m.Change != nil && len(f.Frames) > 1:
		if m.Change.Version > f.Cart.Version+1 {
			return fmt.Errorf("%s, change to %d.%d skips versions", was, m.Change.Epoch, m.Change.Version)
		}
		if outcome := f.Cart.Apply(*m.Change); outcome != schemas.Applied {
			return fmt.Errorf("%s, change to %d.%d has outcome %d", was, m.Change.Epoch, m.Change.Version, outcome)
		}
	default:
		return fmt.Errorf("%s, frame %.200s", was, text)
	}
	return nil
}
