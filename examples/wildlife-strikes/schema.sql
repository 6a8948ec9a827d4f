CREATE TABLE wildlife_strikes (
    report bigint PRIMARY KEY,
    airport text NOT NULL,
    aircraft text NOT NULL,
    damage text NOT NULL,
    flight_date date NOT NULL,
    operator text NOT NULL,
    state text NOT NULL,
    flight_phase text NOT NULL,
    wildlife_size text NOT NULL,
    species text NOT NULL,
    time_of_day text NOT NULL,
    cost_other_usd bigint NOT NULL,
    cost_repair_usd bigint NOT NULL,
    cost_total_usd bigint NOT NULL,
    speed_knots integer
);
