//go:build engines

package alerts_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/redis/go-redis/v9"

	"cartstream/deploy/enginetest"
)

func TestARedisThatIsNotDurableFiresItsAlert(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "cartstream/consumers").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	var alert condition
	for _, r := range rules(t) {
		if r.Alert == "RedisNotDurable" {
			var err error
			alert, err = read(r.Expr)
			must(t, err)
		}
	}
	server := enginetest.RealRedis(t, "--appendonly", "no")
	p := run(t, filepath.Join(dir, "consumers"), []string{
		"REDIS_ADDRS=" + server.Addr, "KAFKA_BROKERS=127.0.0.1:1", "MONGODB_URI=mongodb://127.0.0.1:1/away", "JWT_SECRET=" + secret, "OPS_ADDR=127.0.0.1:0",
		"LOG_FORMAT=json",
	})
	until(t, "it fires", func() bool { return alert.fires(nil, parse(t, p.get("/metrics"))) })

	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer client.Close()
	must(t, client.ConfigSet(t.Context(), "appendonly", "yes").Err())
	until(t, "what the runbook says ends it", func() bool {
		now := parse(t, p.get("/metrics"))
		return len(alert.of(now)) > 0 && !alert.fires(nil, now)
	})
}
