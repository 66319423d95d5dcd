package schemas_test

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cartstream/schemas"
)

// asyncAPI is asyncapi.json, as far as it can be held against the code.
type asyncAPI struct {
	Channels map[string]struct {
		Address  string
		Messages map[string]struct {
			Ref string `json:"$ref"`
		}
		Bindings struct {
			Kafka struct {
				Topic              string
				Partitions         int
				TopicConfiguration struct {
					Cleanup   []string `json:"cleanup.policy"`
					Retention int      `json:"retention.ms"`
					MaxBytes  int      `json:"max.message.bytes"`
				}
			}
		}
	}
	Operations map[string]struct {
		Action  string
		Channel struct {
			Ref string `json:"$ref"`
		}
	}
	Components struct {
		Messages map[string]struct {
			Headers struct{ Required []string }
			Payload struct {
				Ref string `json:"$ref"`
			}
		}
	}
}

func TestTheAsyncAPIDocumentSaysWhatTheTopicsAre(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("asyncapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc asyncAPI
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	number := func(text string) int {
		n, _ := strconv.Atoi(text)
		return n
	}
	topics := schemas.Topics(16, 1)
	if len(topics) != len(doc.Channels) || len(topics) != len(doc.Operations) {
		t.Errorf("%d channels and %d operations, want %d", len(doc.Channels), len(doc.Operations), len(topics))
	}
	payloads := map[string]string{
		schemas.CartEvents: "CartChanged", schemas.CartState: "Cart", schemas.BookEvents: "BookChanged",
		schemas.CartReminders: "Reminder", schemas.CartDLQ: "DeadLetter",
	}
	var names []string
	for _, h := range schemas.Headers("id", "type", "subject", at, "") {
		names = append(names, h.Key)
	}
	for key, c := range doc.Channels {
		i := slices.IndexFunc(topics, func(t schemas.Topic) bool { return t.Name == c.Address })
		if i < 0 {
			t.Errorf("there is no topic %s", c.Address)
			continue
		}
		want, got := topics[i], c.Bindings.Kafka
		if got.Topic != want.Name || got.Partitions != want.Partitions || strings.Join(got.TopicConfiguration.Cleanup, ",") != want.Configs["cleanup.policy"] ||
			got.TopicConfiguration.Retention != number(want.Configs["retention.ms"]) || got.TopicConfiguration.MaxBytes != number(want.Configs["max.message.bytes"]) {
			t.Errorf("%s is %+v, want %+v", key, got, want)
		}
		message := payloads[c.Address]
		if c.Messages[message].Ref != "#/components/messages/"+message {
			t.Errorf("%s holds %+v, want %s", key, c.Messages, message)
		}
		if c.Address == schemas.CartDLQ {
			continue
		}
		m := doc.Components.Messages[message]
		if !slices.Equal(m.Headers.Required, names) {
			t.Errorf("%s always has %v, want %v", message, m.Headers.Required, names)
		}
		file, err := os.ReadFile(strings.TrimPrefix(m.Payload.Ref, "./"))
		if err != nil || !strings.Contains(string(file), `"title": "`+message+`"`) {
			t.Errorf("%s is described by %q: %v", message, m.Payload.Ref, err)
		}
	}
	for name, o := range doc.Operations {
		if _, ok := doc.Channels[strings.TrimPrefix(o.Channel.Ref, "#/channels/")]; !ok || o.Action != "receive" {
			t.Errorf("%s: %+v", name, o)
		}
	}
}
