// Package reminder tells users of carts that they left alone: it finds those carts, and it mails their users.
package reminder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/wneessen/go-mail"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"cartstream/api/cart"
	"cartstream/consumers/runner"
	"cartstream/schemas"
	"cartstream/schemas/env"
	"cartstream/schemas/link"
	"cartstream/schemas/optout"
)

// Contacts is where carts stand right now: Redis. A cart.Store is one.
type Contacts interface {
	// Contact returns the cart, its user's own last change and address; a zero Cart.Version for a user without a cart.
	Contact(ctx context.Context, user string) (cart.Contact, error)
}

// Config is what the mailer needs. Every field is required, and Mail has to be Wanted.
type Config struct {
	Contacts Contacts
	// Database holds who wants no reminders, and which were sent.
	Database *mongo.Database
	Mail     env.Mail
	Links    *link.Signer
	// PublicURL is where links in mails point.
	PublicURL  string
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

// Consumer mails the user of each reminder, if right before sending the cart is still as it was, isn't empty, has an
// address, and its user neither opted out nor got this very reminder. A user gets a reminder once; twice at worst, with
// the same Message-ID, when a process or a connection dies between the relay's yes and what was kept of it.
//
// A relay or an engine that is away is waited for. An address that is refused for good, or for an hour, is parked.
func Consumer(m *Mailer) runner.Consumer[schemas.Reminder] {
	return runner.Consumer[schemas.Reminder]{
		Group:    "reminder",
		Topics:   []string{schemas.CartReminders},
		Decode:   schemas.DecodeReminder,
		Handle:   m.Handle,
		MaxBatch: 1, // each mail's outcome is its own
	}
}

const (
	// deferFor is how long an address may be refused for now before it counts as refused for good: meanwhile the others
	// of its partition wait.
	deferFor = time.Hour
	// A relay that took all of a mail and didn't answer in time may have sent it. So the next try waits, the longer the
	// more there were: a relay that is always too slow must not flood anybody.
	pauseFirst, pauseMost = time.Minute, time.Hour
)

// Mailer sends reminders. It may be used by many goroutines.
type Mailer struct {
	contacts Contacts
	optOuts  optOuts
	ledger   ledger
	relay    relay
	composer *composer
	outcomes *prometheus.CounterVec
	log      *slog.Logger

	// open are the reminders that were tried and aren't done, by ce_id.
	open *lru.Cache[string, attempt]
}

// attempt is what is known of a reminder that was tried and isn't done.
type attempt struct {
	// taken says that the relay took it: only MongoDB doesn't know yet, and it must not go out again.
	taken bool
	// deferred is since when the address is refused for now.
	deferred time.Time
	// next is when it may be tried again, after pause.
	next  time.Time
	pause time.Duration
}

type (
	optOuts interface {
		Has(ctx context.Context, user string) (bool, error)
	}
	ledger interface {
		last(ctx context.Context, user string) (cart.Tag, error)
		keep(ctx context.Context, r schemas.Reminder, at time.Time) error
	}
	relay interface {
		send(ctx context.Context, m *mail.Msg, address string) error
	}
)

// remembered is how many attempts are kept: far more than partitions, each of which waits for one reminder at a time.
const remembered = 4096

// New returns a Mailer. It waits for no engine; the error is one of the settings.
func New(c Config) (*Mailer, error) {
	composer, err := newComposer(c.Mail.From, c.PublicURL, c.Links)
	if err != nil {
		return nil, err
	}
	smtp, err := newSMTP(c.Mail)
	if err != nil {
		return nil, err
	}
	return assemble(Mailer{contacts: c.Contacts, optOuts: optout.New(c.Database), ledger: newStore(c.Database), relay: smtp,
		composer: composer, log: c.Log}, c.Registerer)
}

func assemble(m Mailer, reg prometheus.Registerer) (*Mailer, error) {
	m.outcomes = promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "cartstream_reminder_mails_total",
		Help: "Reminders by what became of them: sent, or why not (changed, empty, no_address, opted_out, sent_before).",
	}, []string{"outcome"})
	for _, outcome := range []string{sent, changed, empty, noAddress, optedOut, sentBefore} {
		m.outcomes.WithLabelValues(outcome)
	}
	var err error
	if m.open, err = lru.New[string, attempt](remembered); err != nil {
		return nil, fmt.Errorf("reminder: %w", err)
	}
	return &m, nil
}

// What becomes of a reminder.
const (
	sent       = "sent"
	changed    = "changed"     // by its user since, or the cart is gone
	empty      = "empty"       // of lines
	noAddress  = "no_address"  // is known
	optedOut   = "opted_out"   // is the user
	sentBefore = "sent_before" // is this very reminder
)

// Handle mails the users of the reminders. The error is runner.Permanent where an address is refused, and tells nothing
// of the address.
func (m *Mailer) Handle(ctx context.Context, batch []runner.Record[schemas.Reminder]) error {
	for _, rec := range batch {
		r := rec.Value
		outcome, err := m.remind(ctx, r)
		if err != nil {
			return fmt.Errorf("remind %s: %w", r.UserID, err)
		}
		m.outcomes.WithLabelValues(outcome).Inc()
		m.log.DebugContext(ctx, "reminder", "user", r.UserID, "epoch", r.Epoch, "version", r.Version, "outcome", outcome)
	}
	return nil
}

// errPaused says that it isn't time yet to try again.
var errPaused = errors.New("the relay took the mail without an answer: waiting before it gets it again")

// remind sends one reminder, where it is still due, and keeps that it did.
func (m *Mailer) remind(ctx context.Context, r schemas.Reminder) (outcome string, err error) {
	id := schemas.CartVersionID(r.UserID, r.Epoch, r.Version)
	a, _ := m.open.Get(id)
	if !a.taken {
		contact, why, err := m.due(ctx, r)
		if err != nil {
			return "", err
		}
		if why != "" {
			m.open.Remove(id)
			return why, nil
		}
		if time.Now().Before(a.next) {
			return "", errPaused
		}
		message, err := m.composer.compose(r, contact, time.Now())
		if err != nil {
			return "", runner.Permanent(err)
		}
		if err := m.relay.send(ctx, message, contact.Email); err != nil {
			return "", m.refusal(id, a, err)
		}
		m.open.Add(id, attempt{taken: true})
	}
	if err := m.ledger.keep(ctx, r, time.Now()); err != nil {
		return "", err
	}
	m.open.Remove(id)
	return sent, nil
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

// refusal decides what a mail's failure means for its reminder: one that is refused for good is permanent, one that is
// refused for now is so after an hour.
func (m *Mailer) refusal(id string, a attempt, err error) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	now := time.Now()
	switch f.verdict {
	case forGood:
		return runner.Permanent(err)
	case forNow:
		if a.deferred.IsZero() {
			a.deferred = now
		}
		m.open.Add(id, a)
		if now.Sub(a.deferred) >= deferFor {
			return runner.Permanent(err)
		}
	case unanswered:
		a.pause = min(max(2*a.pause, pauseFirst), pauseMost)
		a.next = now.Add(a.pause)
		m.open.Add(id, a)
	}
	return err
}
