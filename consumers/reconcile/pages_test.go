package reconcile_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// A cursor ends with its server, or where that forgets it.
func TestARunGoesOnBehindACursorThatIsLost(t *testing.T) {
	b := setup(t)
	const all = 40
	for i := range all {
		b.add(fmt.Sprintf("u%02d", i), "b1")
	}
	b.relay()
	calm, lost := b.db, atomic.Int64{}
	client, err := mongo.Connect(options.Client().ApplyURI(string(b.uri.URI)).SetMonitor(&event.CommandMonitor{
		Started: func(ctx context.Context, e *event.CommandStartedEvent) {
			if e.CommandName == "getMore" && lost.Add(1) == 2 {
				id := e.Command.Lookup("getMore").Int64()
				err := calm.RunCommand(ctx, bson.D{{Key: "killCursors", Value: "carts"}, {Key: "cursors", Value: bson.A{id}}}).Err()
				if err != nil {
					t.Error(err)
				}
			}
		},
	}))
	must(t, err)
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	b.db = client.Database(calm.Name())
	b.restart()
	b.Page(8)
	n, err := b.All(t.Context())
	must(t, err)
	if n != all || lost.Load() < 2 {
		t.Errorf("%d carts compared after %d reads, want %d", n, lost.Load(), all)
	}
}
