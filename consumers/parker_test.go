package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/deploy/enginetest"
	"cartstream/schemas"
	"cartstream/schemas/env"
)

func TestALetterSurvivesWithoutItsTopicAndGetsThereLater(t *testing.T) {
	kafka := enginetest.Kafka(t)
	for claim, c := range map[string]struct {
		mongo string
		spool bool
	}{
		"in MongoDB":                     {enginetest.Mongo(t), false},
		"in the spool, MongoDB away too": {"mongodb://127.0.0.1:1/away", true},
	} {
		t.Run(claim, func(t *testing.T) {
			at := addresses{redis: enginetest.Redis(t), kafka: kafka, mongo: c.mongo}
			environment, dir := at.env(), t.TempDir()
			if c.spool {
				environment["SPOOL_DIR"] = dir
			}
			p := start(t, environment, "push")
			p.await("it consumes", func() bool { return p.logged(`"consuming"`) })
			admin := kadm.NewClient(at.client(t))
			_, err := admin.DeleteTopic(t.Context(), schemas.CartDLQ)
			must(t, err)
			poison := at.client(t).ProduceSync(t.Context(), &kgo.Record{Topic: schemas.CartEvents, Key: []byte("u1"), Value: []byte("poison of " + claim)})
			must(t, poison.FirstErr())
			if c.spool {
				p.await("the spool has the letter", func() bool {
					info, err := os.Stat(filepath.Join(dir, "letters.spool"))
					return err == nil && info.Size() > 0
				})
			} else {
				p.await("MongoDB has the letter", func() bool { return at.unwritten(t) == 1 })
			}
			p.await("the record is done", func() bool {
				groups, err := admin.FetchOffsets(t.Context(), "push")
				if err != nil {
					return false
				}
				offset, ok := groups.Lookup(schemas.CartEvents, poison[0].Record.Partition)
				return ok && offset.At > poison[0].Record.Offset
			})
			p.stop(t)

			p = start(t, environment, "push") // which makes the topic anew
			p.await("the topic has the letter", func() bool { return at.inTopic(t, "poison of "+claim) })
			if !c.spool {
				p.await("MongoDB knows", func() bool { return at.unwritten(t) == 0 })
			}
		})
	}
}

// unwritten is how many letters MongoDB holds that wait for the topic.
func (a addresses) unwritten(t *testing.T) int64 {
	t.Helper()
	db, err := (&env.MongoDB{URI: env.Secret(a.mongo)}).Open()
	must(t, err)
	defer func() { _ = db.Client().Disconnect(t.Context()) }()
	n, err := db.Collection("dead_letters").CountDocuments(t.Context(), bson.D{{Key: "unwritten", Value: true}})
	must(t, err)
	return n
}

// inTopic reports whether the topic for dead letters has a letter of this value.
func (a addresses) inTopic(t *testing.T, value string) bool {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(a.kafka), kgo.ConsumeTopics(schemas.CartDLQ), kgo.FetchMaxWait(100*time.Millisecond))
	must(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for ctx.Err() == nil {
		for _, r := range client.PollFetches(ctx).Records() {
			if string(r.Value) == value {
				return true
			}
		}
	}
	return false
}

func TestASpoolThatTakesNoFilesRefusesToStart(t *testing.T) {
	code, _, complaints := execute(t, map[string]string{"SPOOL_DIR": filepath.Join(t.TempDir(), "none"), "SPOOL_LIMIT_MIB": "0"})
	if code != 2 || !strings.Contains(complaints, "SPOOL_DIR takes no files") || !strings.Contains(complaints, "SPOOL_LIMIT_MIB") {
		t.Errorf("exit code %d:\n%s", code, complaints)
	}
}
