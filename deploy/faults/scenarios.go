package main

import (
	"context"
	"time"
)

// scenarios are what `task test:faults` runs.
var scenarios = []scenario{
	{name: "processes", about: "api and consumers killed by -9, frozen and restarted, with poison among the events", strike: func(ctx context.Context, st *strikes) error {
		return st.strike(ctx, 8, st.killProduct, st.freezeProduct, st.restartProduct, st.poisonEvents)
	}},
}

// awaited are scenarios that the product doesn't pass yet. Whoever makes one pass moves it up.
var awaited = []scenario{}

var soak = scenario{name: "soak", about: "everything for a long time", strike: func(ctx context.Context, st *strikes) error {
	for st.since() < st.until {
		if err := st.strike(ctx, 1, st.killProduct, st.freezeProduct, st.restartProduct, st.poisonEvents); err != nil {
			return err
		}
	}
	return nil
}}

const second = time.Second
