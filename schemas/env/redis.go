package env

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Redis says where the carts are.
type Redis struct {
	Addrs      []string `env:"REDIS_ADDRS" envDefault:"127.0.0.1:6379" help:"comma-separated host:port or redis(s)://user:pass@host; several mean Redis Cluster"`
	Cluster    bool     `env:"REDIS_CLUSTER" envDefault:"false" help:"Redis Cluster even where one address is named"`
	MasterName string   `env:"REDIS_MASTER_NAME" help:"the master's name; the addresses are those of Sentinels"`
	Shards     int      `env:"SHARDS" envDefault:"128" help:"shards of carts; fixed once data is written"`
	MemoryFull float64  `env:"REDIS_MEMORY_FULL" envDefault:"0.9" help:"share of a node's maxmemory, or of its host's memory, from which on changes are refused"`
}

func (r *Redis) check() []error {
	var faults []error
	if _, err := r.Options(); err != nil {
		faults = append(faults, err)
	}
	if r.MemoryFull <= 0 || r.MemoryFull > 1 {
		faults = append(faults, fmt.Errorf("REDIS_MEMORY_FULL is %v: more than 0, at most 1", r.MemoryFull))
	}
	if r.Shards < 1 || r.Shards > 16384 {
		faults = append(faults, fmt.Errorf("SHARDS is %d: 1 to 16384", r.Shards))
	}
	return faults
}

// LogTo sends what go-redis says by itself, about connections that it opens again, to the debug log. It is for the
// whole process: the first call counts, before the first client is made.
func (r *Redis) LogTo(log *slog.Logger) { clientLogs.Do(func() { redis.SetLogger(clientLog{log}) }) }

var clientLogs sync.Once

type clientLog struct{ log *slog.Logger }

func (c clientLog) Printf(ctx context.Context, format string, v ...any) {
	c.log.DebugContext(ctx, "redis client", "message", fmt.Sprintf(format, v...))
}

// Options returns what go-redis needs, IsClusterMode set where Redis Cluster is meant. Nothing is ever sent twice by
// the client itself (MaxRetries -1): a script whose answer was lost may have run. Dialing and each answer are bounded,
// so that a dead Redis is known to be dead in under a second.
func (r *Redis) Options() (*redis.UniversalOptions, error) {
	addrs := addresses(r.Addrs)
	o := &redis.UniversalOptions{
		MasterName:      r.MasterName,
		IsClusterMode:   r.Cluster || len(addrs) > 1 && r.MasterName == "",
		MaxRetries:      -1,
		DialTimeout:     500 * time.Millisecond,
		DialerRetries:   1, // else it is dialled five times
		ReadTimeout:     800 * time.Millisecond,
		WriteTimeout:    800 * time.Millisecond,
		PoolTimeout:     800 * time.Millisecond,
		DisableIdentity: true,
		// Plain Redis doesn't have them, and finding that out races between a client and its Conns (go-redis 9.23).
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if r.Cluster && r.MasterName != "" {
		return nil, errors.New("REDIS_CLUSTER and REDIS_MASTER_NAME exclude each other")
	}
	for _, addr := range addrs {
		if !strings.Contains(addr, "://") {
			if err := checkAddress("REDIS_ADDRS", addr); err != nil {
				return nil, err
			}
			o.Addrs = append(o.Addrs, addr)
			continue
		}
		u, err := redis.ParseURL(addr)
		if err != nil {
			return nil, errors.New("REDIS_ADDRS holds a URL that can't be read: redis(s)://user:pass@host:port") // the cause shows the password
		}
		o.Addrs = append(o.Addrs, u.Addr)
		o.Username, o.Password, o.TLSConfig, o.DB = u.Username, u.Password, u.TLSConfig, u.DB
	}
	if len(o.Addrs) == 0 {
		return nil, errors.New("REDIS_ADDRS is empty")
	}
	if o.IsClusterMode && o.DB != 0 {
		return nil, errors.New("REDIS_ADDRS names a database, which Redis Cluster has not")
	}
	return o, nil
}
