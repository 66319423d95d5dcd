package runner

import (
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMoreThanCanBeHeldEndsTheOldest(t *testing.T) {
	at := place{"in", 0}
	var records []*kgo.Record
	for n := range holdMost + 2 {
		records = append(records, &kgo.Record{Topic: at.topic, Partition: at.partition, Offset: int64(n), Key: []byte(strconv.Itoa(n))})
	}
	var h holds
	h.committed(h.after(polled{at: records}, result{held: records}))
	for key, want := range map[string]bool{"0": false, "1": false, "2": true, strconv.Itoa(holdMost + 1): true} {
		if got := h.at[at][key] != nil; got != want {
			t.Errorf("the record at %s is held: %t, want %t", key, got, want)
		}
	}
	if n := len(h.at[at]); n != holdMost {
		t.Errorf("%d are held, want %d", n, holdMost)
	}
}
