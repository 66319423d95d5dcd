package reconcile

import "testing"

func TestAServersProcessorTimeIsThatOfAllItsThreadsAndNoChild(t *testing.T) {
	for claim, c := range map[string]struct {
		info string
		want float64
		ok   bool
	}{
		"as Redis says it":      {"# CPU\r\nused_cpu_sys:1.500000\r\nused_cpu_user:2.250000\r\nused_cpu_sys_children:9.0\r\nused_cpu_user_children:9.0\r\n", 3.75, true},
		"half of it is missing": {"# CPU\r\nused_cpu_sys:1.5\r\n", 0, false},
		"no number":             {"used_cpu_sys:x\r\nused_cpu_user:1\r\n", 0, false},
		"nothing":               {"", 0, false},
	} {
		t.Run(claim, func(t *testing.T) {
			got, err := processorTime(c.info)
			if got != c.want || (err == nil) != c.ok {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
