package runner

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// avoidLetters is for how long a transactor's letters are the Parker's once the topic didn't take one.
const avoidLetters = 30 * time.Second

// avoidTopic notes that letters alone could not be written, where that is so.
func (t *transactor) avoidTopic(alone bool) {
	if alone {
		t.avoid = time.Now().Add(avoidLetters)
	}
}

// shelve gives letters to the Parker while the topic for them can't be written in a transaction. It returns the partitions
// whose letters it doesn't take either. What it took may be stored again, under the same id: whether the transaction that
// follows will be committed isn't known yet.
func (t *transactor) shelve(ctx context.Context, dead []failure) map[place]error {
	if len(dead) == 0 || time.Now().After(t.avoid) {
		return nil
	}
	letters, of := map[place][]*kgo.Record{}, map[place][]*failure{}
	for i := range dead {
		at := place{dead[i].record.Topic, dead[i].record.Partition}
		letters[at] = append(letters[at], dead[i].letter(t.name, t.letters))
		of[at] = append(of[at], &dead[i])
	}
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	var mu sync.Mutex
	var parking sync.WaitGroup
	failed := map[place]error{}
	for at := range letters {
		parking.Go(func() {
			err := t.parker.Park(ctx, letters[at])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[at] = fmt.Errorf("park dead letters: %w", err)
				return
			}
			for _, f := range of[at] {
				f.stored = true
			}
		})
	}
	parking.Wait()
	return failed
}
