package runner_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"cartstream/consumers/runner"
)

// anew is who has to follow a topic that was deleted and made anew: it has the same name and another id, and a client that
// knew the old one never does so by itself.
var anew = map[string]struct {
	topic    string
	consumer func() runner.Runnable
	value    string // what is consumed, before and after
	lands    string // the topic that tells of it
	want     int    // records that it has in the end
}{
	"readers":                 {in, func() runner.Runnable { return copier(nil) }, "v", out, 2},
	"transactions":            {out, func() runner.Runnable { return copier(nil) }, "v", out, 1},
	"letters of transactions": {dlq, func() runner.Runnable { return copier(nil) }, "poison", dlq, 1},
	"letters of others":       {dlq, func() runner.Runnable { return consumer(&seen{}, nil) }, "poison", dlq, 1},
}

func TestATopicThatIsMadeAnewIsFollowed(t *testing.T) {
	t.Parallel()
	for who := range anew {
		t.Run("by "+who, func(t *testing.T) {
			t.Parallel()
			follows(t, newKafka(t, 1), who)
		})
	}
}

func follows(t *testing.T, k *kafka, who string) {
	c := anew[who]
	run(t, k, c.consumer())
	k.write(t, 0, "a", c.value)
	until(t, "the old topic is in use", func() bool { return k.committed("g", 0) == 1 && len(k.read(t, c.lands)) == 1 })
	admin := kadm.NewClient(client(t, k.brokers))
	if _, err := admin.DeleteTopic(t.Context(), c.topic); err != nil {
		t.Fatal(err)
	}
	until(t, "the topic is there again", func() bool {
		_, err := admin.CreateTopic(t.Context(), 1, 1, nil, c.topic)
		return err == nil
	})
	k.Client = client(t, k.brokers)
	k.write(t, 0, "a", c.value)
	until(t, "what came after is done", func() bool { return len(k.read(t, c.lands)) == c.want })
}
