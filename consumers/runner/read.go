package runner

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Letter is a dead letter as it can be read back.
type Letter struct {
	// ID names the letter; the same record of the same group always has the same.
	ID string
	// Group failed the record, for what Class and Message say.
	Group, Class, Message string
	// Attempts is how often the group tried the record, all replays included.
	Attempts int
	// FirstFailed is when it failed first.
	FirstFailed time.Time
	// Record is what the group was given: key, value and headers as they were, and its place. Its time is the letter's,
	// since the original's is nowhere. An unknown partition or offset is -1.
	Record *kgo.Record
}

// ReadLetter reads a record of the topic for dead letters. The error tells every header of a dead letter that is missing
// or can't be read, as in letters that others wrote; the Letter holds what is known even so.
func ReadLetter(rec *kgo.Record) (Letter, error) {
	original := &kgo.Record{Partition: -1, Offset: -1, Key: rec.Key, Value: rec.Value, Timestamp: rec.Timestamp}
	l := Letter{Record: original}
	read := map[string]func(string) error{
		HeaderTopic:     text(&original.Topic),
		HeaderPartition: number(&original.Partition, 32),
		HeaderOffset:    number(&original.Offset, 64),
		HeaderGroup:     text(&l.Group),
		HeaderAttempts:  number(&l.Attempts, 32),
		HeaderMessage:   func(v string) error { l.Message = v; return nil },
		HeaderID:        text(&l.ID),
		HeaderClass:     text(&l.Class),
		HeaderFirstFailed: func(v string) (err error) {
			l.FirstFailed, err = time.Parse(time.RFC3339, v)
			return err
		},
	}
	// A letter's own headers come last: any of the same names before them are the original's, which may be a letter too.
	var faults []error
	last := map[int]bool{}
	for i := len(rec.Headers) - 1; i >= 0; i-- {
		h := rec.Headers[i]
		if into := read[h.Key]; into != nil {
			delete(read, h.Key)
			last[i] = true
			if err := into(string(h.Value)); err != nil {
				faults = append(faults, fmt.Errorf("header %s: %w", h.Key, err))
			}
		}
	}
	for i, h := range rec.Headers {
		if !last[i] {
			original.Headers = append(original.Headers, h)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(read)) {
		faults = append(faults, fmt.Errorf("header %s is missing", key))
	}
	return l, errors.Join(faults...)
}

func text(into *string) func(string) error {
	return func(v string) error {
		if v == "" {
			return errors.New("is empty")
		}
		*into = v
		return nil
	}
}

func number[N int | int32 | int64](into *N, bits int) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseInt(v, 10, bits)
		if err == nil && n < 0 {
			err = errors.New("is negative")
		}
		if err != nil {
			return err
		}
		*into = N(n)
		return nil
	}
}
