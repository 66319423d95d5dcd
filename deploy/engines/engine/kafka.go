package engine

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

//go:embed kafka.properties
var kafkaProperties string

//go:embed log4j2.properties
var log4jProperties []byte

// KafkaOptions describe a Kafka cluster in which every node is broker and controller.
type KafkaOptions struct {
	Libs  string // the folder with Kafka's jars
	Dir   string // logs and locks; a node's data is in a folder of it
	Nodes int    // default 1
	Ports []int  // the brokers' ports, one a node; nil: free ones
	// Advertised are the addresses, one a node, by which clients and the other nodes reach a broker: those of proxies
	// before it. nil: its own.
	Advertised []string
	Detached   bool // outlives this process
}

// Kafka is a running cluster.
type Kafka struct {
	Nodes []*Process
}

// Brokers is the nodes' addresses, comma-separated.
func (k *Kafka) Brokers() string {
	addrs := make([]string, len(k.Nodes))
	for i, n := range k.Nodes {
		addrs[i] = n.Addr
	}
	return strings.Join(addrs, ",")
}

// Kill ends all nodes with SIGKILL.
func (k *Kafka) Kill() error {
	var g errgroup.Group
	for _, n := range k.Nodes {
		g.Go(n.Kill)
	}
	return g.Wait()
}

// StartKafka starts a cluster that has transactions and creates no topic unasked. With 3 nodes or more its
// own topics are replicated 3 times with 2 in sync, so that it survives the loss of any one node.
func StartKafka(ctx context.Context, o KafkaOptions) (*Kafka, error) {
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.Advertised != nil && len(o.Advertised) != o.Nodes {
		return nil, fmt.Errorf("%d advertised addresses for %d Kafka nodes", len(o.Advertised), o.Nodes)
	}
	// One more look for the controllers' ports: nobody but the nodes has to know them.
	ports, err := FreePorts(2 * o.Nodes)
	if err != nil {
		return nil, err
	}
	copy(ports, o.Ports)
	brokers, controllers := ports[:o.Nodes], ports[o.Nodes:]
	voters := make([]string, o.Nodes)
	for i, port := range controllers {
		voters[i] = fmt.Sprintf("%d@%s", i+1, address(port))
	}
	replication, inSync := 1, 1
	if o.Nodes >= 3 {
		replication, inSync = 3, 2
	}

	k := &Kafka{Nodes: make([]*Process, o.Nodes)}
	g, gctx := errgroup.WithContext(ctx)
	for i := range o.Nodes {
		name := "kafka-" + strconv.Itoa(i+1)
		data := filepath.Join(o.Dir, name)
		k.Nodes[i] = &Process{Name: name, Addr: address(brokers[i]), dir: o.Dir, detached: o.Detached}
		advertised := address(brokers[i])
		if o.Advertised != nil {
			advertised = o.Advertised[i]
		}
		properties := strings.NewReplacer(
			"{node}", strconv.Itoa(i+1), "{voters}", strings.Join(voters, ","), "{broker}", address(brokers[i]), "{advertised}", advertised,
			"{controller}", address(controllers[i]), "{data}", data,
			"{replication}", strconv.Itoa(replication), "{insync}", strconv.Itoa(inSync),
		).Replace(kafkaProperties)
		g.Go(func() error { return k.Nodes[i].startKafka(gctx, o, properties) })
	}
	if err := g.Wait(); err != nil {
		_ = k.Kill()
		return nil, err
	}
	return k, nil
}

func (p *Process) startKafka(ctx context.Context, o KafkaOptions, properties string) error {
	java, err := exec.LookPath("java")
	if err != nil {
		return fmt.Errorf("java is not installed: Kafka needs 17 or newer")
	}
	data := filepath.Join(o.Dir, p.Name)
	config, logging := data+".properties", data+".log4j2.properties"
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	if err := os.WriteFile(config, []byte(properties), 0o600); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	if err := os.WriteFile(logging, log4jProperties, 0o600); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	jvm := []string{"-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dlog4j2.configurationFile=" + logging, "-cp", filepath.Join(o.Libs, "*")}
	if _, err := os.Stat(filepath.Join(data, "meta.properties")); err != nil {
		args := append(jvm[:len(jvm):len(jvm)], "kafka.tools.StorageTool", "format", "-t", clusterID(o.Dir), "-c", config)
		if out, err := exec.CommandContext(ctx, java, args...).CombinedOutput(); err != nil { //nolint:gosec // our own command line
			return fmt.Errorf("format the data of %s: %w: %s", p.Name, err, out)
		}
	}
	p.args = append(append([]string{java}, jvm...), "kafka.Kafka", config)
	p.ready = kafkaReady(p.Addr, o.Nodes)
	return p.Start(ctx)
}

// clusterID is one for a directory, so that all nodes of it, also those formatted later, agree. Its first letter is
// fixed: an id that begins with "-" would be taken for an option.
func clusterID(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return "c" + base64.RawURLEncoding.EncodeToString(sum[:16])[1:]
}

// kafkaReady asks this very node for the cluster's members.
func kafkaReady(addr string, nodes int) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RequestRetries(0))
		if err != nil {
			return err
		}
		defer c.Close()
		meta, err := kadm.NewClient(c).BrokerMetadata(ctx)
		if err != nil {
			return err
		}
		if n := len(meta.Brokers); n < nodes {
			return fmt.Errorf("%d of %d nodes are in the cluster", n, nodes)
		}
		return nil
	}
}
