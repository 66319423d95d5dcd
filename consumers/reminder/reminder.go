// Package reminder tells users of carts that they left alone: it finds those carts, and it mails their users.
package reminder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
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

// Config is what the mailer needs. Every field but ShopURL is required, and Mail has to be Wanted.
type Config struct {
	Contacts Contacts
	// Database holds who wants no reminders, and which were sent.
	Database *mongo.Database
	Mail     env.Mail
	Links    *link.Signer
	// PublicURL is the API, below which are the links that end reminders; ShopURL is the page of the cart, "" for no link to it.
	PublicURL, ShopURL string

	Registerer prometheus.Registerer
	Log        *slog.Logger
}

// Consumer mails the user of each reminder, if right before sending, with the relay there to take it, the cart is still as
// it was, isn't empty, has an address, and its user neither opted out nor got this very reminder. A user gets a reminder
// once; twice, with the same Message-ID, when a process dies between the relay's yes and what was kept of it; a few times
// in two days at most, where the relay gets it each time and never says so.
//
// A relay or an engine that is away is waited for. A mail that is refused for good is parked; one that is refused for now is
// kept in MongoDB, for Run to try again, and nobody waits for it.
func Consumer(m *Mailer) runner.Consumer[schemas.Reminder] {
	return runner.Consumer[schemas.Reminder]{
		Group:    Group,
		Topics:   []string{schemas.CartReminders},
		Decode:   schemas.DecodeReminder,
		Handle:   m.Handle,
		MaxBatch: 1, // each mail's outcome is its own
	}
}

// Group is the consumer's name.
const Group = "reminder"

// Mailer sends reminders. It may be used by many goroutines.
type Mailer struct {
	contacts  Contacts
	optOuts   optOuts
	ledger    ledger
	deferrals deferrals
	relay     relay
	composer  *composer
	log       *slog.Logger
	lot       lot // of ParkWith

	outcomes, attempts *prometheus.CounterVec
	waiting            prometheus.Gauge

	doubt  doubt
	paused atomic.Bool
	// open are the reminders that were tried and aren't done, by ce_id.
	open *lru.Cache[string, attempt]
}

// attempt is what is known of a reminder that was tried and isn't done, and that MongoDB doesn't know yet.
type attempt struct {
	// taken says that the relay took it: it must not go out again.
	taken bool
	// silent is that the relay got it and didn't answer, nil where it didn't: it must not go out again at once.
	silent *failure
	// breaks is how often the relay was lost with it under way.
	breaks int
}

type (
	optOuts interface {
		Has(ctx context.Context, user string) (bool, error)
	}
	ledger interface {
		last(ctx context.Context, user string) (cart.Tag, error)
		keep(ctx context.Context, r schemas.Reminder, at time.Time) error
	}
	deferrals interface {
		newest(ctx context.Context, user string) (cart.Tag, error)
		put(ctx context.Context, d deferral) error
		due(ctx context.Context, now time.Time, limit int) (found []deferral, waiting int64, err error)
		change(ctx context.Context, d deferral, next *deferral) (ours bool, err error)
	}
	relay interface {
		// ready returns a connection on which the relay answered just now.
		ready(ctx context.Context) (connection, error)
	}
	connection interface {
		send(ctx context.Context, m *mail.Msg, address string) error
		release() // once, by whoever got it
	}
)

// remembered is how many attempts are kept: far more than partitions, each of which waits for one reminder at a time.
const remembered = 4096

// New returns a Mailer. It waits for no engine; the error is one of the settings.
func New(c Config) (*Mailer, error) {
	composer, err := newComposer(c.Mail.From, c.PublicURL, c.ShopURL, c.Links)
	if err != nil {
		return nil, err
	}
	if !composer.click {
		c.Log.Warn("mail programs offer no one-click unsubscribe: PUBLIC_URL isn't https", "url", c.PublicURL)
	}
	smtp, err := newSMTP(c.Mail)
	if err != nil {
		return nil, err
	}
	return assemble(&Mailer{contacts: c.Contacts, optOuts: optout.New(c.Database), ledger: newStore(c.Database), deferrals: newRoom(c.Database),
		relay: smtp, composer: composer, log: c.Log}, c.Registerer)
}

func assemble(m *Mailer, reg prometheus.Registerer) (*Mailer, error) {
	m.outcomes = promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "cartstream_reminder_mails_total",
		Help: "Reminders by what became of them: sent, or why not (changed, empty, no_address, opted_out, sent_before), or deferred, to be counted again at the end.",
	}, []string{"outcome"})
	for _, outcome := range []string{sent, changed, empty, noAddress, optedOut, sentBefore, deferred} {
		m.outcomes.WithLabelValues(outcome)
	}
	m.waiting = promauto.With(reg).NewGauge(prometheus.GaugeOpts{
		Name: "cartstream_reminder_deferred", Help: "Reminders that a relay refused for now and that wait for their next attempt, of all processes.",
	})
	m.attempts = promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "cartstream_reminder_deferred_attempts_total",
		Help: "Attempts at deferred reminders by what came of them: sent, refused again, parked, dropped (no longer due), undone (the relay or an engine is away).",
	}, []string{"outcome"})
	for _, outcome := range []string{sent, refusedAgain, parked, dropped, undone} {
		m.attempts.WithLabelValues(outcome)
	}
	var err error
	if m.open, err = lru.New[string, attempt](remembered); err != nil {
		return nil, fmt.Errorf("reminder: %w", err)
	}
	return m, nil
}

// What becomes of a reminder.
const (
	sent       = "sent"
	changed    = "changed"     // by its user since, or the cart is gone
	empty      = "empty"       // of lines
	noAddress  = "no_address"  // is known
	optedOut   = "opted_out"   // is the user
	sentBefore = "sent_before" // is this very reminder
	deferred   = "deferred"    // until its next attempt
)

// Handle mails the users of the reminders. The error is runner.Permanent where an address is refused, and tells nothing
// of the address.
func (m *Mailer) Handle(ctx context.Context, batch []runner.Record[schemas.Reminder]) error {
	for _, rec := range batch {
		r := rec.Value
		outcome, err := m.remind(ctx, rec)
		if err != nil {
			return fmt.Errorf("remind %s: %w", r.UserID, err)
		}
		m.outcomes.WithLabelValues(outcome).Inc()
		m.log.DebugContext(ctx, "reminder", "user", r.UserID, "epoch", r.Epoch, "version", r.Version, "outcome", outcome)
	}
	return nil
}

// remind sends one reminder, where it is still due and doesn't wait already, or defers it.
func (m *Mailer) remind(ctx context.Context, rec runner.Record[schemas.Reminder]) (outcome string, err error) {
	r := rec.Value
	if a, _ := m.open.Get(idOf(r)); a.silent != nil {
		return m.refused(ctx, rec, a.silent)
	}
	waits, err := m.deferrals.newest(ctx, r.UserID)
	if err != nil {
		return "", err
	}
	if waits == (cart.Tag{Epoch: r.Epoch, Version: r.Version}) {
		return deferred, nil
	}
	outcome, err = m.mail(ctx, r)
	var f *failure
	if errors.As(err, &f) {
		return m.refused(ctx, rec, f)
	}
	return outcome, err
}

// refused decides what a mail's failure means for its record: it is permanent, or deferred, or its partition waits.
func (m *Mailer) refused(ctx context.Context, rec runner.Record[schemas.Reminder], f *failure) (outcome string, err error) {
	now := time.Now()
	switch f.verdict {
	case forGood:
		return "", runner.Permanent(f)
	case away:
		return "", f
	case unanswered:
		m.open.Add(idOf(rec.Value), attempt{silent: f})
	case forNow, broke:
	}
	// What is known of a mail without an answer is lost here with a call that ended, so it is deferred even in doubt.
	lost := f.verdict == unanswered && ctx.Err() != nil
	if !lost && !m.doubt.mails(now) {
		return "", fmt.Errorf("%w, as to every mail before it", f)
	}
	d, _ := newDeferral(rec, Group, runner.Replaying(ctx), now).refused(f, now)
	ctx, cancel := outlasting(ctx, keepMost)
	defer cancel()
	if err := m.deferrals.put(ctx, d); err != nil {
		return "", err
	}
	m.doubt.refused(now)
	m.open.Remove(idOf(rec.Value))
	m.log.InfoContext(ctx, "reminder deferred", "user", d.User, "epoch", d.Epoch, "version", d.Version, "due", d.Due, "error", f)
	return deferred, nil
}
