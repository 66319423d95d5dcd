package cart

import (
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // Redis names scripts by SHA-1
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Generation is one life of a shard's data. Number strictly rises; Nonce makes two attempts at the same number differ.
type Generation struct {
	Number int64
	Nonce  string
}

// NewGeneration returns a generation with a nonce of its own.
func NewGeneration(number int64) Generation { return Generation{number, rand.Text()[:10]} }

// String is how the generation stands in its key.
func (g Generation) String() string { return strconv.FormatInt(g.Number, 10) + ":" + g.Nonce }

// State of a shard.
type State string

const (
	// Ready shards hold every cart.
	Ready State = "ready"
	// Lost shards hold only the carts that were restored or created since; a cart that is missing may be in MongoDB.
	Lost State = "lost"
	// Raising shards are between two generations; nothing may be read or written.
	Raising State = "raising"
	// RaisingLost is Raising for a shard that is Lost.
	RaisingLost State = "raising-lost"
	// Absent shards have no generation: their data is gone, or never was there.
	Absent State = ""
)

// errFenced: the shard's generation isn't the one the scripts were made for, or the server has forgotten them.
var errFenced = errors.New("shard is recovering")

//go:embed lua/*.lua
var luaFiles embed.FS

// script names one Lua file.
type script int

const (
	scriptAdd script = iota
	scriptSet
	scriptRemove
	scriptAcknowledge
	scriptClear
	scriptRead
	scriptRestore
	scriptBeat
	scriptTrim
	scriptPosition
	scriptLearn
	scriptWalks
	scriptStep
	scriptUnqueue
	scriptKnown
	scriptRemind
	scriptChanged
	scriptUnchanged
	scriptDigest
	scriptAdopt
	scriptOpen
	scripts
)

// sources are the files that make up each script after guard.lua, in order.
var sources = [scripts][]string{
	scriptAdd:         {"cart", "mutation", "facts", "line", "add"},
	scriptSet:         {"cart", "mutation", "facts", "line", "set"},
	scriptRemove:      {"cart", "mutation", "facts", "line", "remove"},
	scriptAcknowledge: {"cart", "mutation", "facts", "line", "acknowledge"},
	scriptClear:       {"cart", "mutation", "clear"},
	scriptRead:        {"read"},
	scriptRestore:     {"bulk", "restore"},
	scriptBeat:        {"beat"},
	scriptTrim:        {"trim"},
	scriptPosition:    {"position"},
	scriptLearn:       {"cart", "facts", "learn"},
	scriptWalks:       {"walks"},
	scriptStep:        {"cart", "facts", "step"},
	scriptUnqueue:     {"unqueue"},
	scriptKnown:       {"known"},
	scriptRemind:      {"cart", "remind"},
	scriptChanged:     {"changed"},
	scriptUnchanged:   {"unchanged"},
	scriptDigest:      {"digest"},
	scriptAdopt:       {"cart", "adopt"},
	scriptOpen:        {"open"},
}

// bodies are the scripts without what makes them one generation's.
var bodies = func() (out [scripts]string) {
	for s, files := range sources {
		var b strings.Builder
		for _, f := range append([]string{"guard"}, files...) {
			text, err := luaFiles.ReadFile("lua/" + f + ".lua")
			if err != nil {
				panic(err) // embedded: the build would have failed
			}
			for line := range strings.Lines(string(text)) {
				if !strings.HasPrefix(line, "--") {
					b.WriteString(line)
				}
			}
		}
		out[s] = b.String()
	}
	return out
}()

// loaded are the scripts of one generation. Their SHA-1 differ from every other generation's, so a server that forgot
// them, as after a restart or a promotion, answers NOSCRIPT: that is the fence.
type loaded struct {
	Generation
	marker string
	text   [scripts]string
	sha    [scripts]string
}

func scriptsOf(g Generation) *loaded {
	l := &loaded{Generation: g, marker: markerOf(g)}
	prefix := fmt.Sprintf("local G, READY, LOST = '%d', '%s %s', '%s %s'\n", g.Number, g, Ready, g, Lost)
	for s, body := range bodies {
		l.text[s] = prefix + body
		l.sha[s] = sha(l.text[s])
	}
	return l
}

// markerOf is a script by which a server that knows the generation is told from one that forgot.
func markerOf(g Generation) string { return "return 'cartstream " + g.String() + "'" }

func sha(text string) string {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// readGeneration reads what a generation's key holds; "" is Absent.
func readGeneration(value string) (Generation, State, error) {
	if value == "" {
		return Generation{}, Absent, nil
	}
	name, state, _ := strings.Cut(value, " ")
	number, nonce, _ := strings.Cut(name, ":")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || nonce == "" || state == "" {
		return Generation{}, Absent, fmt.Errorf("generation %q can't be read", value)
	}
	return Generation{n, nonce}, State(state), nil
}

// load brings the scripts to the server behind conn. The marker comes last: whoever finds it may load what it lacks.
func (l *loaded) load(ctx context.Context, conn *redis.Conn) error {
	known, err := conn.ScriptExists(ctx, l.sha[:]...).Result()
	if err != nil {
		return err
	}
	_, err = conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		for s, there := range known {
			if !there {
				p.ScriptLoad(ctx, l.text[s])
			}
		}
		p.ScriptLoad(ctx, l.marker)
		return nil
	})
	return err
}
