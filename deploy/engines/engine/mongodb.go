package engine

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	postgresName = "postgres"
	ferretName   = "ferretdb"
	database     = "cartstream"
)

//go:embed chroot.sh
var enterChroot string

// MongoDBOptions describe a MongoDB-compatible database: FerretDB on a PostgreSQL with DocumentDB.
type MongoDBOptions struct {
	Root     string // the chroot with PostgreSQL
	Template string // an initialised data directory, copied at the first start
	FerretDB string // the ferretdb program
	Dir      string // logs, locks and the data
	Port     int    // FerretDB's; 0: a free one
	Detached bool   // outlives this process
}

// MongoDB is a running database.
type MongoDB struct {
	URI      string   // with the database cartstream
	FerretDB *Process // speaks MongoDB's protocol, keeps nothing
	Postgres *Process // keeps the data
}

// StartMongoDB starts the database. It needs root, for the chroot; its mounts are seen by PostgreSQL alone
// and go with it. No transactions, no change streams.
func StartMongoDB(ctx context.Context, o MongoDBOptions) (*MongoDB, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the MongoDB-compatible engine needs root: its PostgreSQL runs in a chroot")
	}
	ports, err := FreePorts(2)
	if err != nil {
		return nil, err
	}
	if o.Port == 0 {
		o.Port = ports[1]
	}
	m := &MongoDB{URI: (&url.URL{Scheme: "mongodb", Host: address(o.Port), Path: "/" + database}).String()}
	if m.Postgres, err = startPostgres(ctx, o, ports[0]); err != nil {
		return nil, err
	}
	state := filepath.Join(o.Dir, ferretName)
	if err = os.MkdirAll(state, 0o700); err == nil {
		m.FerretDB = &Process{
			Name: ferretName, Addr: address(o.Port), dir: o.Dir, detached: o.Detached,
			args: []string{o.FerretDB, "--postgresql-url=postgres://postgres@" + m.Postgres.Addr + "/postgres",
				"--listen-addr=" + address(o.Port), "--no-auth", "--telemetry=disable", "--debug-addr=-",
				"--log-level=warn", "--state-dir=" + state},
			ready: func(ctx context.Context) error { return mongoReady(ctx, m.URI) },
		}
		err = m.FerretDB.Start(ctx)
	}
	if err != nil {
		_ = m.Postgres.Kill()
		return nil, err
	}
	return m, nil
}

// Kill ends both processes with SIGKILL.
func (m *MongoDB) Kill() error { return errors.Join(m.FerretDB.Kill(), m.Postgres.Kill()) }

func startPostgres(ctx context.Context, o MongoDBOptions, port int) (*Process, error) {
	data := filepath.Join(o.Dir, postgresName)
	if Running(o.Dir, postgresName) {
		return nil, fmt.Errorf("%s %w in %s", postgresName, ErrRunning, o.Dir)
	}
	if err := copyOnce(ctx, o.Template, data); err != nil {
		return nil, err
	}
	args := []string{"postgres", "-D", "/mnt", "-c", "listen_addresses=127.0.0.1", "-c", "port=" + strconv.Itoa(port)}
	p := &Process{Name: postgresName, Addr: address(port), dir: o.Dir, detached: o.Detached}
	p.args = InChroot(o.Root, data, !o.Detached, args...)
	p.ready = func(context.Context) error { return postgresReady(data, p.pid) }
	return p, p.Start(ctx)
}

// InChroot is the command line that runs args as user postgres in the chroot at root, with data at /mnt,
// as the same process. Its mounts are its own, so none can be left behind. An owned one is killed when its
// parent ends.
func InChroot(root, data string, owned bool, args ...string) []string {
	death := "clear"
	if owned {
		death = "KILL"
	}
	return append([]string{"unshare", "--mount", "--", "sh", "-c", enterChroot, "sh", root, data, death}, args...)
}

// copyOnce copies the directory template to data where data isn't there yet, all of it or nothing.
func copyOnce(ctx context.Context, template, data string) error {
	if _, err := os.Stat(data); err == nil {
		return nil
	}
	half := data + ".half"
	if err := os.RemoveAll(half); err != nil {
		return fmt.Errorf("make the database's data: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(data), 0o700); err != nil {
		return fmt.Errorf("make the database's data: %w", err)
	}
	if out, err := exec.CommandContext(ctx, "cp", "-a", template, half).CombinedOutput(); err != nil { //nolint:gosec // paths of ours
		return fmt.Errorf("make the database's data: %w: %s", err, out)
	}
	return os.Rename(half, data)
}

// postgresReady reads what PostgreSQL itself notes in its pid file, once that is of this very process.
func postgresReady(data string, pid int) error {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid")) //nolint:gosec // a path of ours
	if err != nil {
		return err
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 8 || lines[0] != strconv.Itoa(pid) || strings.TrimSpace(lines[7]) != "ready" {
		return errors.New("PostgreSQL is not ready yet")
	}
	return nil
}

// mongoReady asks for something that FerretDB can't answer without PostgreSQL. It waits for the port
// first: the driver takes long to look again.
func mongoReady(ctx context.Context, uri string) error {
	u, err := url.Parse(uri)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	_ = conn.Close()
	c, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		return err
	}
	defer c.Disconnect(ctx) //nolint:errcheck // only a connection
	_, err = c.Database(database).ListCollectionNames(ctx, bson.D{})
	return err
}
