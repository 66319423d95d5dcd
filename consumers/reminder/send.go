package reminder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cartstream/api/cart"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// breaksMost is under how many attempts at one mail the relay may be lost before that is taken for the mail's own trouble.
const breaksMost = 3

// mail sends the reminder, where it is still due, and keeps that it did. An error that says what the relay made of the
// mail is a *failure.
func (m *Mailer) mail(ctx context.Context, r schemas.Reminder) (outcome string, err error) {
	if !m.taken(r) {
		if why, err := m.send(ctx, r); err != nil || why != "" {
			return why, err
		}
	}
	ctx, cancel := outlasting(ctx, keepMost)
	defer cancel()
	if err := m.ledger.keep(ctx, r, time.Now()); err != nil {
		return "", err
	}
	m.open.Remove(idOf(r))
	return sent, nil
}

// send has the relay take the reminder, or returns why it isn't due. The relay is there before anything is looked at:
// connecting takes long enough for a cart to change and a user to opt out.
func (m *Mailer) send(ctx context.Context, r schemas.Reminder) (why string, err error) {
	c, away := m.relay.ready(ctx)
	if away != nil {
		// What isn't due needs no relay.
		if _, why, err := m.due(ctx, r); err == nil && why != "" {
			return why, nil
		}
		return "", away
	}
	defer c.release()
	contact, why, err := m.due(ctx, r)
	if err != nil || why != "" {
		return why, err
	}
	message, err := m.composer.compose(r, contact, time.Now())
	if err != nil {
		return "", runner.Permanent(err)
	}
	if err := c.send(ctx, message, contact.Email); err != nil {
		return "", m.weighed(r, err)
	}
	m.doubt.took()
	m.open.Add(idOf(r), attempt{taken: true})
	return "", nil
}

// weighed is the error, with a verdict on the relay that was lost under the mail: at first that is the relay's trouble; under
// the same mail again and again it is that mail's, refused for now like any other.
func (m *Mailer) weighed(r schemas.Reminder, err error) error {
	var f *failure
	if !errors.As(err, &f) || f.verdict != broke {
		return err
	}
	a, _ := m.open.Get(idOf(r))
	a.breaks++
	m.open.Add(idOf(r), a)
	weighed := *f
	weighed.verdict = away
	if a.breaks >= breaksMost {
		weighed.verdict = forNow
	}
	return &weighed
}

func idOf(r schemas.Reminder) string { return schemas.CartVersionID(r.UserID, r.Epoch, r.Version) }

// taken reports whether the relay took the mail, which MongoDB doesn't know yet.
func (m *Mailer) taken(r schemas.Reminder) bool {
	a, _ := m.open.Get(idOf(r))
	return a.taken
}

// due returns the contact of a reminder that is to be sent now, or why it isn't.
func (m *Mailer) due(ctx context.Context, r schemas.Reminder) (contact cart.Contact, why string, err error) {
	last, err := m.ledger.last(ctx, r.UserID)
	if err != nil {
		return contact, "", err
	}
	if !schemas.Newer(r.Epoch, r.Version, last.Epoch, last.Version) {
		return contact, sentBefore, nil
	}
	no, err := m.optOuts.Has(ctx, r.UserID)
	if err != nil {
		return contact, "", err
	}
	if no {
		return contact, optedOut, nil
	}
	// Last, so that nothing is between it and the mail.
	contact, err = m.contacts.Contact(ctx, r.UserID)
	switch {
	case err != nil:
		return contact, "", fmt.Errorf("look at the cart: %w", err)
	case contact.Cart.Version == 0 || contact.Epoch != r.Epoch || contact.Version != r.Version:
		return contact, changed, nil
	case len(contact.Cart.Items) == 0:
		return contact, empty, nil
	case contact.Email == "":
		return contact, noAddress, nil
	}
	return contact, "", nil
}
