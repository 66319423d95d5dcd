package persist

import (
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// The engines of the tests refuse none of these at will.
func TestOnlyAnAnswerAboutTheDocumentCountsAsARefusal(t *testing.T) {
	for claim, c := range map[string]struct {
		code    int
		refused bool
	}{
		"a validator that the document fails": {121, true},
		"a document that is too large":        {10334, true},
		"a code that nobody has heard of":     {987654, true},
		"a full disk":                         {14031, false},
		"a primary that stepped down":         {10107, false},
		"a server that shuts down":            {11600, false},
		"a backend that is away":              {1, false},
		"a user who may not write":            {13, false},
	} {
		t.Run(claim, func(t *testing.T) {
			w := &write{user: "u1"}
			answer([]*write{w}, mongo.WriteError{Code: c.code, Message: "no"})
			if refused := w.refused != nil; refused != c.refused || refused == (w.down != nil) {
				t.Errorf("refused: %v, down: %v", w.refused, w.down)
			}
		})
	}
}

func TestAnEngineThatIsAwayGoesBeforeARefusal(t *testing.T) {
	away, refused := &write{user: "u1"}, &write{user: "u2"}
	answer([]*write{away}, mongo.WriteError{Code: 10107})
	answer([]*write{refused}, mongo.WriteError{Code: 121})
	if err := worst([]*write{refused, away, {}}); !errors.Is(err, away.down) {
		t.Errorf("the batch fails with %v, so a record is tried singly while MongoDB is away", err)
	}
	if err := worst([]*write{{}, refused}); !errors.Is(err, refused.refused) {
		t.Errorf("the batch fails with %v, not with the refusal", err)
	}
	if err := worst([]*write{{}}); err != nil {
		t.Errorf("nothing failed, yet %v", err)
	}
}
