package main

import (
	"errors"
	"fmt"
)

// faults are what was found wrong. The first ones are kept, all are counted.
type faults struct {
	first []string
	n     int
}

const keptFaults = 8

func (f *faults) add(format string, args ...any) {
	f.n++
	if len(f.first) < keptFaults {
		f.first = append(f.first, fmt.Sprintf(format, args...))
	}
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
