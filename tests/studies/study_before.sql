BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'old');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'settings','{"name": "old", "budget_ms": 20.0}');
INSERT INTO "study_user_attributes" VALUES(2,1,'measured_latency_ms','{"0": 12.75}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'stage1.kernel',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [3, 5, 7]}}');
INSERT INTO "trial_params" VALUES(2,1,'stage1.se',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(3,1,'stage1.layers',3.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 4}}');
INSERT INTO "trial_params" VALUES(4,1,'stage1.width_mult',1.15638081689403882101e+00,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 2.0, "log": false}}');
INSERT INTO "trial_params" VALUES(5,2,'stage1.kernel',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [3, 5, 7]}}');
INSERT INTO "trial_params" VALUES(6,2,'stage1.se',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(7,2,'stage1.layers',3.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 4}}');
INSERT INTO "trial_params" VALUES(8,2,'stage1.width_mult',1.88839495743899155044e+00,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 2.0, "log": false}}');
INSERT INTO "trial_params" VALUES(9,3,'stage1.kernel',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [3, 5, 7]}}');
INSERT INTO "trial_params" VALUES(10,3,'stage1.se',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(11,3,'stage1.layers',4.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 4}}');
INSERT INTO "trial_params" VALUES(12,3,'stage1.width_mult',1.96792751334914606253e+00,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 2.0, "log": false}}');
INSERT INTO "trial_params" VALUES(13,4,'stage1.kernel',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [3, 5, 7]}}');
INSERT INTO "trial_params" VALUES(14,4,'stage1.se',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(15,4,'stage1.layers',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 4}}');
INSERT INTO "trial_params" VALUES(16,4,'stage1.width_mult',1.91700337557437583413e+00,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.5, "high": 2.0, "log": false}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'status','"trained"');
INSERT INTO "trial_user_attributes" VALUES(2,1,'choices','{"stage1.kernel": 5, "stage1.se": true, "stage1.layers": 3, "stage1.width_mult": 1.1563808168940388}');
INSERT INTO "trial_user_attributes" VALUES(3,1,'spec','"{\n \"schema\": 1,\n \"name\": \"tiny\",\n \"resolution\": 32,\n \"in_channels\": 3,\n \"stages\": [\n  {\n   \"name\": \"stem\",\n   \"blocks\": [\n    {\n     \"block\": \"ConvBN\",\n     \"out_channels\": 8,\n     \"kernel\": 3,\n     \"stride\": 2,\n     \"groups\": 1,\n     \"activation\": \"relu\"\n    }\n   ]\n  },\n  {\n   \"name\": \"head\",\n   \"blocks\": [\n    {\n     \"block\": \"Classifier\",\n     \"classes\": 2,\n     \"dropout_percent\": 0,\n     \"hidden_features\": 0,\n     \"hidden_activation\": \"h_swish\"\n    }\n   ]\n  }\n ]\n}"');
INSERT INTO "trial_user_attributes" VALUES(4,1,'fingerprint','"68275bc679b11226"');
INSERT INTO "trial_user_attributes" VALUES(5,1,'params','1000');
INSERT INTO "trial_user_attributes" VALUES(6,1,'macs','10000000');
INSERT INTO "trial_user_attributes" VALUES(7,1,'predicted_latency_ms','12.5');
INSERT INTO "trial_user_attributes" VALUES(8,1,'predicted_low_ms','12.0');
INSERT INTO "trial_user_attributes" VALUES(9,1,'predicted_high_ms','13.0');
INSERT INTO "trial_user_attributes" VALUES(10,1,'accuracy','0.5');
INSERT INTO "trial_user_attributes" VALUES(11,1,'history','[0.25, 0.5]');
INSERT INTO "trial_user_attributes" VALUES(12,1,'train_s','3.5');
INSERT INTO "trial_user_attributes" VALUES(13,1,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(14,1,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(15,1,'reward','0.5');
INSERT INTO "trial_user_attributes" VALUES(16,2,'status','"stopped_early"');
INSERT INTO "trial_user_attributes" VALUES(17,2,'choices','{"stage1.kernel": 5, "stage1.se": true, "stage1.layers": 3, "stage1.width_mult": 1.8883949574389916}');
INSERT INTO "trial_user_attributes" VALUES(18,2,'spec','"{\n \"schema\": 1,\n \"name\": \"tiny\",\n \"resolution\": 32,\n \"in_channels\": 3,\n \"stages\": [\n  {\n   \"name\": \"stem\",\n   \"blocks\": [\n    {\n     \"block\": \"ConvBN\",\n     \"out_channels\": 8,\n     \"kernel\": 3,\n     \"stride\": 2,\n     \"groups\": 1,\n     \"activation\": \"relu\"\n    }\n   ]\n  },\n  {\n   \"name\": \"head\",\n   \"blocks\": [\n    {\n     \"block\": \"Classifier\",\n     \"classes\": 2,\n     \"dropout_percent\": 0,\n     \"hidden_features\": 0,\n     \"hidden_activation\": \"h_swish\"\n    }\n   ]\n  }\n ]\n}"');
INSERT INTO "trial_user_attributes" VALUES(19,2,'fingerprint','"68275bc679b11226"');
INSERT INTO "trial_user_attributes" VALUES(20,2,'params','1001');
INSERT INTO "trial_user_attributes" VALUES(21,2,'macs','10000000');
INSERT INTO "trial_user_attributes" VALUES(22,2,'predicted_latency_ms','13.5');
INSERT INTO "trial_user_attributes" VALUES(23,2,'predicted_low_ms','12.0');
INSERT INTO "trial_user_attributes" VALUES(24,2,'predicted_high_ms','13.0');
INSERT INTO "trial_user_attributes" VALUES(25,2,'accuracy','0.5');
INSERT INTO "trial_user_attributes" VALUES(26,2,'history','[0.25, 0.5]');
INSERT INTO "trial_user_attributes" VALUES(27,2,'train_s','3.5');
INSERT INTO "trial_user_attributes" VALUES(28,2,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(29,2,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(30,3,'status','"failed"');
INSERT INTO "trial_user_attributes" VALUES(31,3,'choices','{"stage1.kernel": 5, "stage1.se": true, "stage1.layers": 4, "stage1.width_mult": 1.967927513349146}');
INSERT INTO "trial_user_attributes" VALUES(32,3,'spec','"{\n \"schema\": 1,\n \"name\": \"tiny\",\n \"resolution\": 32,\n \"in_channels\": 3,\n \"stages\": [\n  {\n   \"name\": \"stem\",\n   \"blocks\": [\n    {\n     \"block\": \"ConvBN\",\n     \"out_channels\": 8,\n     \"kernel\": 3,\n     \"stride\": 2,\n     \"groups\": 1,\n     \"activation\": \"relu\"\n    }\n   ]\n  },\n  {\n   \"name\": \"head\",\n   \"blocks\": [\n    {\n     \"block\": \"Classifier\",\n     \"classes\": 2,\n     \"dropout_percent\": 0,\n     \"hidden_features\": 0,\n     \"hidden_activation\": \"h_swish\"\n    }\n   ]\n  }\n ]\n}"');
INSERT INTO "trial_user_attributes" VALUES(33,3,'fingerprint','"68275bc679b11226"');
INSERT INTO "trial_user_attributes" VALUES(34,3,'params','1002');
INSERT INTO "trial_user_attributes" VALUES(35,3,'macs','10000000');
INSERT INTO "trial_user_attributes" VALUES(36,3,'predicted_latency_ms','14.5');
INSERT INTO "trial_user_attributes" VALUES(37,3,'predicted_low_ms','12.0');
INSERT INTO "trial_user_attributes" VALUES(38,3,'predicted_high_ms','13.0');
INSERT INTO "trial_user_attributes" VALUES(39,3,'history','[]');
INSERT INTO "trial_user_attributes" VALUES(40,3,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(41,3,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(42,3,'error','"NaN"');
INSERT INTO "trial_user_attributes" VALUES(43,4,'status','"running"');
INSERT INTO "trial_user_attributes" VALUES(44,4,'choices','{"stage1.kernel": 3, "stage1.se": false, "stage1.layers": 1, "stage1.width_mult": 1.9170033755743758}');
INSERT INTO "trial_user_attributes" VALUES(45,4,'spec','"{\n \"schema\": 1,\n \"name\": \"tiny\",\n \"resolution\": 32,\n \"in_channels\": 3,\n \"stages\": [\n  {\n   \"name\": \"stem\",\n   \"blocks\": [\n    {\n     \"block\": \"ConvBN\",\n     \"out_channels\": 8,\n     \"kernel\": 3,\n     \"stride\": 2,\n     \"groups\": 1,\n     \"activation\": \"relu\"\n    }\n   ]\n  },\n  {\n   \"name\": \"head\",\n   \"blocks\": [\n    {\n     \"block\": \"Classifier\",\n     \"classes\": 2,\n     \"dropout_percent\": 0,\n     \"hidden_features\": 0,\n     \"hidden_activation\": \"h_swish\"\n    }\n   ]\n  }\n ]\n}"');
INSERT INTO "trial_user_attributes" VALUES(46,4,'fingerprint','"68275bc679b11226"');
INSERT INTO "trial_user_attributes" VALUES(47,4,'params','1003');
INSERT INTO "trial_user_attributes" VALUES(48,4,'macs','10000000');
INSERT INTO "trial_user_attributes" VALUES(49,4,'predicted_latency_ms','15.5');
INSERT INTO "trial_user_attributes" VALUES(50,4,'predicted_low_ms','12.0');
INSERT INTO "trial_user_attributes" VALUES(51,4,'predicted_high_ms','13.0');
INSERT INTO "trial_user_attributes" VALUES(52,4,'history','[]');
INSERT INTO "trial_user_attributes" VALUES(53,4,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(54,4,'seed','0');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,0.5,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-29 12:09:35.777123','2026-11-29 12:09:35.802579');
INSERT INTO "trials" VALUES(2,1,1,'PRUNED','2026-11-29 12:09:35.812681','2026-11-29 12:09:35.821976');
INSERT INTO "trials" VALUES(3,2,1,'FAIL','2026-11-29 12:09:35.832017','2026-11-29 12:09:35.840698');
INSERT INTO "trials" VALUES(4,3,1,'RUNNING','2026-11-29 12:09:35.844560',NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
