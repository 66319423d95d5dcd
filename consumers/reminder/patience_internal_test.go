package reminder

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/wneessen/go-mail"

	"cartstream/api/cart"
	"cartstream/consumers/runner"
	"cartstream/schemas"
	"cartstream/schemas/env"
	"cartstream/schemas/link"
)

// fake is every engine of a Mailer at once: all that happens is the relay's answer, nil where it takes the mail.
type fake struct {
	answer error
	mails  int
	kept   int
}

func (f *fake) Has(context.Context, string) (bool, error)               { return false, nil }
func (f *fake) last(context.Context, string) (cart.Tag, error)          { return cart.Tag{}, nil }
func (f *fake) keep(context.Context, schemas.Reminder, time.Time) error { f.kept++; return nil }

func (f *fake) send(context.Context, *mail.Msg, string) error {
	f.mails++
	return f.answer
}

func (f *fake) Contact(_ context.Context, user string) (cart.Contact, error) {
	lines := []schemas.Line{{BookID: "b1", Title: "Emma", Quantity: 1, Availability: schemas.Available}}
	return cart.Contact{Epoch: 1, Version: 1, Email: user + "@example.com", Cart: schemas.Cart{UserID: user, Epoch: 1, Version: 1, Currency: "EUR", Items: lines}}, nil
}

func newFake(t *testing.T) (*fake, func(user string) error) {
	t.Helper()
	links, err := link.New(env.Links{Secret: "l1nk"}, env.JWT{})
	if err != nil {
		t.Fatal(err)
	}
	composer, err := newComposer("shop@example.com", "https://shop.example", links)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	m, err := assemble(Mailer{contacts: f, optOuts: f, ledger: f, relay: f, composer: composer, log: slog.New(slog.DiscardHandler)}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return f, func(user string) error {
		r := schemas.Reminder{UserID: user, Epoch: 1, Version: 1, IdleSince: schemas.At(time.Now())}
		return m.Handle(t.Context(), []runner.Record[schemas.Reminder]{{Record: &kgo.Record{}, Value: r}})
	}
}

func TestAnAddressThatIsRefusedForNowIsGivenUpAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, handle := newFake(t)
		f.answer = &failure{verdict: forNow, stage: "RCPT", reply: "450 4.1.2"}
		began := time.Now()
		for time.Since(began) < deferFor {
			if err := handle("u1"); err == nil || runner.IsPermanent(err) || runner.IsRefused(err) {
				t.Fatalf("after %s: %v", time.Since(began), err)
			}
			time.Sleep(5 * time.Second)
		}
		for range 2 { // a batch that is permanent is tried once more, as its record alone
			if err := handle("u1"); !runner.IsPermanent(err) {
				t.Fatalf("after %s: %v", time.Since(began), err)
			}
		}
		if err := handle("u2"); err == nil || runner.IsPermanent(err) {
			t.Errorf("another address is given up with it: %v", err)
		}
		f.answer = nil
		if err := handle("u2"); err != nil {
			t.Error(err)
		}
	})
}

func TestARelayInTroubleIsNeverGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, handle := newFake(t)
		for _, broken := range []*failure{
			{verdict: away, stage: "RCPT", reply: "451 4.3.0"}, {verdict: unanswered, stage: "the content", err: os.ErrDeadlineExceeded},
		} {
			f.answer = broken
			for began := time.Now(); time.Since(began) < 48*time.Hour; time.Sleep(time.Minute) {
				if err := handle("u1"); err == nil || runner.IsPermanent(err) || runner.IsRefused(err) {
					t.Fatalf("%v after %s: %v", broken, time.Since(began), err)
				}
			}
		}
	})
}

// Each of those mails may have been sent.
func TestARelayThatIsTooSlowToAnswerFloodsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, handle := newFake(t)
		f.answer = &failure{verdict: unanswered, stage: "the content", err: os.ErrDeadlineExceeded}
		for began := time.Now(); time.Since(began) < 24*time.Hour; time.Sleep(5 * time.Second) {
			if err := handle("u1"); err == nil || runner.IsPermanent(err) {
				t.Fatal(err)
			}
		}
		if f.mails < 24 || f.mails > 32 {
			t.Errorf("%d mails a day, want one an hour, and some more in the first", f.mails)
		}
		f.answer = nil
		time.Sleep(pauseMost)
		if err := handle("u1"); err != nil || f.kept != 1 {
			t.Errorf("%v, kept %d times", err, f.kept)
		}
	})
}
