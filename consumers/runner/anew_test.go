package runner_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"cartstream/consumers/runner"
)

// A topic of the same name has another id then, and a client that knew the old one never follows by itself.
func TestATopicThatIsMadeAnewIsFollowed(t *testing.T) {
	t.Parallel()
	for claim, c := range map[string]struct {
		topic    string
		consumer runner.Runnable
		value    string
		lands    string // the topic that tells that the value was consumed
		want     int    // records that it has in the end
	}{
		"by its readers":                            {in, copier(nil), "v", out, 2},
		"by transactions":                           {out, copier(nil), "v", out, 1},
		"by letters of transactions":                {dlq, copier(nil), "poison", dlq, 1},
		"by letters of who writes nothing but them": {dlq, consumer(&seen{}, nil), "poison", dlq, 1},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			k := newKafka(t, 1)
			run(t, k, c.consumer)
			k.write(t, 0, "a", c.value)
			until(t, "the old topic is in use", func() bool { return k.committed("g", 0) == 1 })
			admin := kadm.NewClient(client(t, k.brokers))
			if _, err := admin.DeleteTopic(t.Context(), c.topic); err != nil {
				t.Fatal(err)
			}
			if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, c.topic); err != nil {
				t.Fatal(err)
			}
			k.Client = client(t, k.brokers)
			k.write(t, 0, "a", c.value)
			until(t, "what came after is done", func() bool { return len(k.read(t, c.lands)) == c.want })
		})
	}
}
