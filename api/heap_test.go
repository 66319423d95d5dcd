package main

import (
	"runtime"
	"runtime/metrics"
	"testing"
)

func TestTheCollectorWaitsForMoreThanAFewMegabytes(t *testing.T) {
	kept := ballast()
	runtime.GC()
	goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(goal)
	if got := goal[0].Value.Uint64(); got < 2*headroom {
		t.Errorf("it runs again at %d bytes, want at least %d", got, 2*headroom)
	}
	runtime.KeepAlive(kept)
}
