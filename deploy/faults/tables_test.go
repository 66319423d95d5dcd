package main

import (
	"strings"
	"testing"
	"time"
)

func TestTheTablesTellWhatTheRunsCameTo(t *testing.T) {
	at := []time.Duration{3 * time.Second, time.Second, 2 * time.Second}
	all := tables{[]figures{
		{name: "kafka", acks: "Redis", lasted: 61 * time.Second, acknowledged: 900, struck: map[string]int{"kill": 4, "cut": 1}, healed: map[string][]time.Duration{"kill": at}},
		{name: "aof-window", acks: "Redis", lasted: time.Second, acknowledged: 50, struck: map[string]int{"kill": 1, cutFile: 2}, lost: 3,
			ages: []time.Duration{9 * time.Millisecond, time.Millisecond, 4 * time.Millisecond}, losses: []loss{{kind: cutFile, ready: time.Second}, {kind: cutFile, ready: 4 * time.Second}}},
	}}
	var out strings.Builder
	all.write(&out)
	for _, want := range []string{
		"| kafka | 61 | 900 | 5 | 0 | 0 |\n",
		"| aof-window | 1 | 50 | 3 | 3 | 0 |\n",
		"| aof-window | Redis | 2 | 50 | 3 | 4 · 9 ms |\n",
		"| " + cutFile + " | 2 | 4.0 · 4.0 s |\n",
		"| kill | 5 | 3 | 2.0 · 3.0 s |\n",
		"| cut | 1 | 0 | – |\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if strings.Count(out.String(), "\n|---|") != 4 {
		t.Errorf("not four tables:\n%s", &out)
	}
}
