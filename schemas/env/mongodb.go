package env

import (
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

// MongoDB says where the catalogue is, and the copy of the carts.
type MongoDB struct {
	URI Secret `env:"MONGODB_URI" envDefault:"mongodb://127.0.0.1:27017/cartstream" help:"connection string; its path names the database"`
}

func (m *MongoDB) check() []error {
	u, err := connstring.Parse(string(m.URI))
	if err != nil {
		return []error{errors.New("MONGODB_URI can't be read: mongodb://host:port/database")} // the cause shows the password
	}
	if u.Database == "" {
		return []error{errors.New("MONGODB_URI names no database: mongodb://host:port/database")}
	}
	return nil
}

// Open returns the database, without waiting for the server: each operation waits at most three seconds for one and
// fails then.
func (m *MongoDB) Open() (*mongo.Database, error) {
	u, err := connstring.Parse(string(m.URI))
	if err != nil {
		return nil, errors.New("MONGODB_URI can't be read")
	}
	client, err := mongo.Connect(options.Client().ApplyURI(string(m.URI)).
		SetAppName("cartstream").SetServerSelectionTimeout(3 * time.Second).SetConnectTimeout(2 * time.Second))
	if err != nil {
		return nil, fmt.Errorf("connect to MongoDB: %w", err)
	}
	return client.Database(u.Database), nil
}
