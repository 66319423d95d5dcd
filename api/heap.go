package main

// headroom is how much this process may allocate, at least, between two runs of the collector.
const headroom = 32 << 20

// ballast returns what makes the collector count on a larger heap for as long as it is kept alive: without it, the few
// megabytes that a gateway holds are gone through dozens of times a second under load. Nobody touches it, so it takes no
// memory itself; the garbage that it lets stand takes up to twice headroom.
func ballast() []byte { return make([]byte, headroom) }
