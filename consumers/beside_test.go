package main

import (
	"context"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// walker notes whether it rests.
type walker struct{ rests bool }

func (w *walker) Run(context.Context) error { return nil }
func (w *walker) Pause()                    { w.rests = true }
func (w *walker) Resume()                   { w.rests = false }

func TestWhatRunsBesideAConsumerRestsWithIt(t *testing.T) {
	declared := func(name string) runner.Runnable {
		return runner.Consumer[schemas.BookChanged]{
			Group: name, Topics: []string{schemas.BookEvents}, Decode: schemas.DecodeBookChanged,
			Handle: func(context.Context, []runner.Record[schemas.BookChanged]) error { return nil },
		}
	}
	r, err := runner.New(runner.Config{Kafka: []kgo.Opt{kgo.SeedBrokers("127.0.0.1:1")}, DeadLetters: schemas.CartDLQ},
		declared("booksync"), declared("persist"))
	must(t, err)
	walks := &walker{}
	s := switches{r, map[string]beside{"booksync": walks}}
	must(t, s.Pause("persist"))
	if walks.rests {
		t.Error("it rests with another consumer")
	}
	must(t, s.Pause("booksync"))
	if !walks.rests {
		t.Error("it goes on")
	}
	must(t, s.Resume("booksync"))
	if walks.rests {
		t.Error("it still rests")
	}
	if err := s.Pause("prsist"); !errors.Is(err, runner.ErrUnknownConsumer) {
		t.Errorf("got %v", err)
	}
}
