//go:build engines

package runner_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"cartstream/deploy/enginetest"
)

// realKafka is the Kafka that the environment names, with the topics of the other tests.
func realKafka(t *testing.T) *kafka {
	t.Helper()
	brokers := strings.Split(enginetest.Kafka(t), ",")
	k := &kafka{Client: client(t, brokers), brokers: brokers, session: 6 * time.Second}
	admin := kadm.NewClient(k.Client)
	for _, topic := range []string{in, out, dlq} {
		if _, err := admin.CreateTopic(t.Context(), 8, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func TestOnARealKafkaTheOrderOfAKeyIsKeptAcrossRebalances(t *testing.T) {
	orderOfKeys(t, realKafka(t), 1500)
}

func TestOnARealKafkaEachRecordIsCopiedOnce(t *testing.T) { copiedOnce(t, realKafka(t), 1500) }

func TestOnARealKafkaAReplayIsATransaction(t *testing.T) { replayedInATransaction(t, realKafka(t)) }

func TestOnARealKafkaAHeldRecordHoldsItsOffset(t *testing.T) { heldBack(t, realKafka(t), true) }

func TestOnARealKafkaATopicThatIsMadeAnewIsFollowed(t *testing.T) {
	for who := range anew {
		t.Run("by "+who, func(t *testing.T) { follows(t, realKafka(t), who) })
	}
}
