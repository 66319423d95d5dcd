package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/deadletter"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// With the service's own environment, a shell beside it sees what is parked, and is named in the audit trail.
func TestDeadLettersAreSeenAndSettledFromTheShell(t *testing.T) {
	at := addresses{redis: enginetest.Redis(t), kafka: enginetest.Kafka(t), mongo: enginetest.Mongo(t)}
	environment := at.env()
	p := start(t, environment, "push", "deadletter")
	poison := &kgo.Record{Topic: schemas.CartEvents, Key: []byte("u1"), Value: []byte("poison")}
	p.await("Kafka takes the poison", func() bool { return at.client(t).ProduceSync(t.Context(), poison).FirstErr() == nil })
	environment["OPS_ADDR"] = p.addr

	var letters []deadletter.DeadLetter
	list := func(args ...string) bool {
		code, out, _ := execute(t, environment, append([]string{"dlq", "list", "--json"}, args...)...)
		return code == 0 && json.Unmarshal([]byte(out), &letters) == nil
	}
	p.await("the letter is listed", func() bool { return list("--group", "push", "--user", "u1") && len(letters) == 1 })
	id := letters[0].ID
	if letters[0].Class != "undecodable" || letters[0].Verdict == nil || *letters[0].Verdict != deadletter.Unreadable {
		t.Errorf("letter %+v", letters[0])
	}
	if code, out, complaints := execute(t, environment, "dlq", "replay", id); code != 1 || !strings.Contains(complaints, "is parked, after 2 attempts") {
		t.Errorf("replay: %d %s %s", code, out, complaints)
	}
	if code, out, complaints := execute(t, environment, "dlq", "discard", id, "--reason", "planted"); code != 0 || !strings.Contains(out, "discarded") {
		t.Errorf("discard: %d %s %s", code, out, complaints)
	}
	if code, out, _ := execute(t, environment, "dlq", "show", id); code != 0 || !strings.Contains(out, "poison") || !strings.Contains(out, "by dlq:") || !strings.Contains(out, "planted") {
		t.Errorf("show: %d %s", code, out)
	}
	if !list() || len(letters) > 0 {
		t.Errorf("still parked: %+v", letters)
	}
	if strings.Contains(p.log.String(), "\"poison\"") {
		t.Error("a value shows in the log")
	}
	if code, _, complaints := execute(t, environment, "dlq", "lst"); code != 2 || !strings.Contains(complaints, "lst") {
		t.Errorf("an unknown command: %d %s", code, complaints)
	}
	environment["JWT_SECRET"] = "another"
	if code, _, complaints := execute(t, environment, "dlq", "list"); code != 1 || !strings.Contains(complaints, "401") {
		t.Errorf("with another secret: %d %s", code, complaints)
	}
	p.stop(t)
}
