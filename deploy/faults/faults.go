package main

import (
	"errors"
	"fmt"
)

// faults are what was found wrong. The first ones are kept, all are counted.
type faults struct {
	first []string // at most keptFaults
	n     int
}

const keptFaults = 24

func (f *faults) add(format string, args ...any) {
	f.n++
	if len(f.first) < keptFaults/3 {
		f.first = append(f.first, fmt.Sprintf(format, args...))
	}
}

// join adds another's, of which a third may be kept.
func (f *faults) join(other faults) {
	f.n += other.n
	f.first = append(f.first, other.first[:min(len(other.first), keptFaults/3)]...)
}

// errViolated says that the product broke its contract.
var errViolated = errors.New("the contract was broken")

func (f *faults) err() error {
	if f.n == 0 {
		return nil
	}
	text := fmt.Sprintf("%d times", f.n)
	for _, one := range f.first {
		text += "\n  - " + one
	}
	return fmt.Errorf("%w %s", errViolated, text)
}
